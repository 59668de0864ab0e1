"""What a run is asked for: configurations, their defaults, and which options are read."""
