"""The content of a dataset: turns, statistics, eval prompts that it shares words with."""
