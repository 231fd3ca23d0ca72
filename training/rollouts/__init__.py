"""Answers of the model in training: their sampling, their rewards, and the batches made of them."""
