"""Seeded conversations with a calculator: data and eval sets of a run that teaches tool calls."""
