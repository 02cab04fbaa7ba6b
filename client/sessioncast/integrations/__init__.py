"""What makes other libraries work with sessioncast, one module each; each needs its extra."""
