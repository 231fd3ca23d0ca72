"""The run spec: its schema, its blocks and their reference page."""
