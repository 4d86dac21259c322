"""Hydra config groups, shipped in the wheel as `ganbench.conf`."""
