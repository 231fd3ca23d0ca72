"""Datasets on the caller's machine: rows of other tools, statistics, derivation from a run."""
