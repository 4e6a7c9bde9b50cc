"""Noise models, and noise estimation from a single image."""
