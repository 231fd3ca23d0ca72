"""The shared data formats: run spec, traces, eval items, predictions, verdicts.

Standard library only, so that the control plane, the workers and the training library can all
use the same definitions without importing each other.
"""
