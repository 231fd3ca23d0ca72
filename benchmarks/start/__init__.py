"""How long a stage's start takes, cold and warm."""
