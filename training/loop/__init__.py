"""The training loop: compiled steps, optimizer, trainable values, and checks of their health."""
