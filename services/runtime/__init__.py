"""Coordination of tasks within a control plane process."""
