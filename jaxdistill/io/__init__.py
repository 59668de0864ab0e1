"""Sets, experts, generators and checkpoints on disk."""
