"""The report's figures, the same bytes for the same numbers: plots as PNG, pictures as WebP."""
