"""Commands on certificates, profiles and tokens."""
