"""Cost of a training: memory, arithmetic and time."""
