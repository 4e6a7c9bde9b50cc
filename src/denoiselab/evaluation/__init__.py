"""Evaluation of trained models on the test images: scores, example outputs and alarms."""
