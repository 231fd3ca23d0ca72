"""Tailrace: LLM post-training as a service."""
