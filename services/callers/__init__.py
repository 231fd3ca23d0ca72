"""Callers of this control plane: their tokens, projects, certificates, open calls and refusals."""
