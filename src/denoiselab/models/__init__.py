"""Trained models on disk: weights and metadata, pre-trained weights, tiled inference, complexity."""
