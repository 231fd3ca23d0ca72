"""Control plane: accepts runs over gRPC, stores their state and gives stages to workers."""
