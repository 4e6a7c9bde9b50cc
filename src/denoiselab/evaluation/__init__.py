"""Evaluation of trained models on the test images, and the statistics of the comparison."""
