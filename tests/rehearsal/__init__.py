"""`make rehearsal`: a deployment with TLS and tokens, on hosts that are network namespaces."""
