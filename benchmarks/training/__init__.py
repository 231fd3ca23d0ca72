"""How fast, and in how much memory, the training library trains."""
