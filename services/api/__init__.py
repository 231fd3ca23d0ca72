"""Thin gRPC servicers, one per proto service."""
