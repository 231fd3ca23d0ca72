"""Commands, one module per noun or verb."""
