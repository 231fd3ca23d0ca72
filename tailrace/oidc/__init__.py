"""Logins with an OpenID provider: discovery, code flow, device flow, refreshed access tokens."""
