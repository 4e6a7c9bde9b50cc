"""The report's figures, byte-identical for the same numbers: plots as PNG, images as WebP."""
