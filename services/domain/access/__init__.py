"""Access: projects, tokens, the audit log, and what workers are bound to."""
