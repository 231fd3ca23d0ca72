"""Benchmark of the step speed of every model family."""
