"""Adapters of systems outside the control plane."""
