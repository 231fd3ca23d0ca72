"""The stage process and its limits."""
