"""The door for notebooks and scripts."""
