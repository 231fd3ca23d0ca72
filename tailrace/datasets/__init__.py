"""Datasets of other tools: their rows become records of a kind."""
