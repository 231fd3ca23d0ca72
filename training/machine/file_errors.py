"""Errors of files that libraries written in Rust report in a message alone."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NUMBER = re.compile(r"\(os error (\d+)\)")


@contextmanager
def as_os_errors(path: Path) -> Iterator[None]:
    """Raise :class:`OSError` where the body fails because of the file system (a full disk).

    safetensors and tokenizers have classes of their own for that, and :class:`Exception` itself;
    other errors pass.
    """
    try:
        yield
    except Exception as error:
        number = _NUMBER.search(str(error))
        if isinstance(error, OSError) or number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
