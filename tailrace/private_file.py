"""Permissions of files with secrets, which only their owner may read."""

from __future__ import annotations

import os
import stat
from pathlib import Path


def exposure(path: Path, status: os.stat_result) -> str:
    """Return the problem with the mode of a secret's file, and the way out; empty if none.

    Secrets from Kubernetes and systemd belong to root, and their group may read them.
    """
    allowed = 0o640 if status.st_uid == 0 and os.geteuid() != 0 else 0o600
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o177 & ~allowed:
        return f"{path} has mode {mode:04o}, so that others may read it: chmod 600 {path}"
    return ""
