"""Use cases on workers and pools."""
