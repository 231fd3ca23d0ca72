"""Use cases on stages and their attempts."""
