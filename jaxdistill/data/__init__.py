"""Images and expert trajectories, as arrays, files and feeds of batches."""
