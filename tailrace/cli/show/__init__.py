"""Output of commands: tables, views and JSON."""
