"""Benchmarks of the training library: speed, memory and overhead."""
