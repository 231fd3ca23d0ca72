"""Model families, presets, and model folders in Hugging Face layout."""
