"""The verbs of `reverie`, a file each, and nothing else."""
