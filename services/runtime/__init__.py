"""Coordination of tasks within one control plane process."""
