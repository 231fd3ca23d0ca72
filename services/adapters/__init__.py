"""Systems outside the control plane."""
