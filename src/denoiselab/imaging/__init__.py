"""Image files to arrays and back."""
