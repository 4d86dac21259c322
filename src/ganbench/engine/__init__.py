"""Training: the one step, the one loop, checkpoints, and what keeps a run honest."""
