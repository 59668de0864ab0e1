"""Training a network: one step, an epoch, an expert, or through the steps."""
