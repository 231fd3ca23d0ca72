"""File errors of libraries written in Rust, which report the error number in a text only."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NUMBER = re.compile(r"\(os error (\d+)\)")


@contextmanager
def as_os_errors(path: Path) -> Iterator[None]:
    """Turn errors of the file system, such as a full disk, into :class:`OSError`.

    safetensors raises its own class for them, and tokenizers plain :class:`Exception`. Other errors
    pass unchanged.
    """
    try:
        yield
    except Exception as error:
        number = _NUMBER.search(str(error))
        if isinstance(error, OSError) or number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
