"""The stage process: executes one job of a worker and reports events."""
