"""Use cases of the control plane: one verb and one transaction each."""
