"""Training data: records as conversations, text, tokens with masks, and batches."""
