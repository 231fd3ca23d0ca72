"""Rows of the tables, one module per noun."""
