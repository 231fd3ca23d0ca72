"""Model folders in Hugging Face layout: configuration, tokenizer, weights and their check."""
