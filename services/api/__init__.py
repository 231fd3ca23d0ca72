"""gRPC servicers, one per service of the API."""
