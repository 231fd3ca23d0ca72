"""Datasets derived from the predictions of a run."""
