"""What the papers set and published, by cell."""
