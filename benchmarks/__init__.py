"""Measurements beside a peer or a yardstick; each has a bar, which it holds or falls short of."""
