"""The loop that drives every method, the devices it runs on, and what watches it."""
