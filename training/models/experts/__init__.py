"""Layers of experts: routers, grouped products, and the balance of their load."""
