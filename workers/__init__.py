"""The worker: takes stages from the broker, executes them on pinned slots, reports over gRPC."""
