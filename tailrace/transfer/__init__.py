"""Transfer of files to and from the control plane's artifact store.

Uploads and downloads continue where they broke off, and every byte is checked by sha256. The
functions here block; :mod:`tailrace.transfer.aio` has the same functions for asyncio. Both execute
the jobs of :mod:`tailrace.transfer.uploads` and :mod:`tailrace.transfer.downloads`. They are
loaded on first use, since few clients move files.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tailrace.transfer.blocking import (
        download_artifact,
        download_blob,
        upload_file,
        upload_folder,
    )

__all__ = ["download_artifact", "download_blob", "upload_file", "upload_folder"]


def __getattr__(name: str) -> object:
    """Load a function on first use (PEP 562)."""
    if name not in __all__:
        raise AttributeError(f"module 'tailrace.transfer' has no attribute {name!r}")
    return getattr(importlib.import_module("tailrace.transfer.blocking"), name)
