"""Readers of data files: rows with their places, in bounded memory."""
