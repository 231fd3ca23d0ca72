"""Content of datasets and eval sets: their first lines, statistics, and uploads."""
