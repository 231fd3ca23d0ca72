"""Supervised fine-tuning in TRL's SFTTrainer and here: the same examples, steps and adapter."""
