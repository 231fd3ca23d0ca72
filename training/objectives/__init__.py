"""Training methods: their examples and the losses that they minimise."""
