"""Use cases on datasets, eval sets, models and artifacts."""
