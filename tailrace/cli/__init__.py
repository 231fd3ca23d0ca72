"""The command line: one module per noun, ``up`` and ``demo`` for the embedded stack."""
