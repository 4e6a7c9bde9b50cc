"""Stored models: weights, metadata, tiled inference, complexity."""
