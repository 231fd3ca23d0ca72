"""Checkpoints and the records next to a trained model."""
