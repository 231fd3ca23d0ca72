"""Benchmark of imports: lines per second and peak memory, by the number of lines."""
