"""Results as people read them: pages, curves, tables."""
