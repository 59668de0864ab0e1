"""Dataset distillation in JAX."""
