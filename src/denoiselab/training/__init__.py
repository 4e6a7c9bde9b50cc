"""Training: jobs, the loop, batches, losses, optimiser, validation, checkpoints."""
