"""Pure rules: state machines, errors, cursors. Imports nothing of the layers above."""
