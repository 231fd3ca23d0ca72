"""How fast judges judge."""
