"""Judging models: servers and local models."""
