"""Use cases on runs."""
