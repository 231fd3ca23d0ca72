from __future__ import annotations

import io
import threading

import pytest

from services.usecases.content import datasets
from services.usecases.content.line_import import scan
from tests.unit.services.usecases.stored_content import trace_line


def test_a_scan_that_nobody_waits_for_ends_at_the_next_line() -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(InterruptedError):
        scan(datasets.line_kind(None), io.BytesIO(trace_line() * 3), stop)
