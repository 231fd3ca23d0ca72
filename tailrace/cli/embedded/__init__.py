"""The embedded stack: broker, control plane and workers of one machine."""
