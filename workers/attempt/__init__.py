"""One attempt of a stage, from its inputs to its report."""
