"""Records in JSON Lines: traces, eval items, predictions and verdicts."""
