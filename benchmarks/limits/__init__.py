"""What the largest request of each method costs the other callers."""
