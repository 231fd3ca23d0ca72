"""Training data: traces as text, tokens and batches."""
