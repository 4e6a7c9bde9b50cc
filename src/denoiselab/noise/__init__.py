"""Noise models, and the estimation of noise from an image."""
