"""Answers in text: markers, normal forms, numbers, units, and their comparison."""
