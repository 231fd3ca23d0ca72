"""The machine: devices, processes and their limits."""
