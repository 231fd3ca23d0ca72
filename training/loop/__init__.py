"""The training loop: steps, optimizer, trained values and their supervision."""
