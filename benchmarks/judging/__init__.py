"""Speed of the built-in judges."""
