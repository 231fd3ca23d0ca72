"""Pure rules of the control plane: state machines, errors, cursors."""
