"""Events and log lines on their way to the control plane."""
