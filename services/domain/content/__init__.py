"""Datasets, eval sets, models and the artifacts that hold them."""
