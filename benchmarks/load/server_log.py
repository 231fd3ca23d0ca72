"""What the control plane's own log says about when it answered."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any


def answers(log: Path, method: str, run_uid: str) -> Iterator[float]:
    """When calls of ``method`` about a run were answered, in seconds since 1970."""
    with log.open() as lines:
        for line in lines:
            if run_uid in line and method in line:
                entry: dict[str, Any] = json.loads(line)
                if entry.get("event") == "call" and entry.get("code") == "OK":
                    yield datetime.fromisoformat(entry["timestamp"]).timestamp()
