"""Tokens of an OpenID provider: configuration, the issuer's keys, verification, rights."""
