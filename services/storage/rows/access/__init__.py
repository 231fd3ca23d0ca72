"""Rows on who may call and what they may use: projects, API tokens, quotas, usage."""
