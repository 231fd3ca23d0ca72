"""Training methods against their peers, and what they show on a small model."""
