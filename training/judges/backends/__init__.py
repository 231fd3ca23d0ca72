"""Models that judge: endpoints and local models."""
