"""A small file system of a test's own that it can fill."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

SIZE_BYTES = 192 * 1024 * 1024


class Disk:
    """A tmpfs at ``folder``; a plain folder, which cannot be filled, where mounting is refused."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        argv = ["mount", "-t", "tmpfs", "-o", f"size={SIZE_BYTES}", "tmpfs", str(folder)]
        self.own = subprocess.run(argv, capture_output=True, check=False).returncode == 0
        self._filler = folder / "filler"

    def fill(self) -> None:
        """Take every free byte."""
        status = os.statvfs(self.folder)
        with self._filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, status.f_bavail * status.f_frsize))

    def free(self) -> None:
        """Give them back."""
        self._filler.unlink(missing_ok=True)

    def remove(self) -> None:
        """Unmount it, whoever still has files open."""
        if self.own:
            subprocess.run(["umount", "-l", str(self.folder)], check=True)
            self.own = False
