"""A stage process without JAX: says when it began, then fails for good, which ends its run."""

from __future__ import annotations

import os
import sys
import time

BEGAN = time.time()


def main() -> None:
    """Speak the stage contract: an event per line on the descriptor that the worker names."""
    from tailrace.formats.stage_protocol import ErrorEvent, LogEvent, encode_event

    with os.fdopen(int(sys.argv[3]), "w") as events:
        events.write(encode_event(LogEvent(f"began {BEGAN!r}")) + "\n")
        error = ErrorEvent("MEASURED", "this stage only says when it began", retryable=False)
        events.write(encode_event(error) + "\n")
    sys.exit(1)


if __name__ == "__main__":
    main()
