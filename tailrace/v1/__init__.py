"""Generated protobuf and gRPC code of package ``tailrace.v1``; regenerate with ``make protos``."""
