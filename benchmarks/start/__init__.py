"""Benchmark of the start of a stage, cold and warm."""
