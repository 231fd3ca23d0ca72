"""The control plane: accepts runs over gRPC, keeps their truth, hands stages to workers."""
