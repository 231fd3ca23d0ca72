"""What the control plane does: one verb, one transaction."""
