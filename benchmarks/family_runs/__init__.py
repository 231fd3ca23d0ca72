"""A LoRA run of each model family over a worker: train, infer, judge."""
