"""Rows of the table, one module per measurement."""
