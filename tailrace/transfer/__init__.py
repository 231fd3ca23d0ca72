"""Moving files to and from the control plane's artifact store.

Uploads and downloads continue where they broke off, and every byte is checked by sha256. The
functions here block; :mod:`tailrace.transfer.aio` has the same ones for asyncio. Both carry out
the jobs of :mod:`tailrace.transfer.uploads` and :mod:`tailrace.transfer.downloads`.
"""

from __future__ import annotations

from tailrace.transfer.blocking import (
    download_artifact,
    download_blob,
    upload_file,
    upload_folder,
)

__all__ = ["download_artifact", "download_blob", "upload_file", "upload_folder"]
