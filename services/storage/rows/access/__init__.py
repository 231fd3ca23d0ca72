"""Rows on who may call: projects and API tokens."""
