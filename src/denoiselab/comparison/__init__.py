"""Comparison of evaluated models: means with intervals, paired tests, published results."""
