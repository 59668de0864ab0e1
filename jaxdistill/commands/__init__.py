"""What the commands do, from arguments to folders."""
