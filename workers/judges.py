"""Judges that other packages bring to this worker, by entry point."""

from __future__ import annotations

from importlib.metadata import entry_points

import structlog

from tailrace.formats.catalog import JUDGES
from tailrace.formats.limits import MAX_ID

GROUP = "tailrace.judges"
"""The entry point group; a point's name is the judge's."""

_log = structlog.get_logger(__name__)


def foreign_judges() -> dict[str, str]:
    """The judges beside the built-in ones: name to the version of the package that brings it.

    Nothing of such a package is imported here; only the stage process does that.
    """
    found: dict[str, str] = {}
    for point in entry_points(group=GROUP):
        if point.name in JUDGES:
            continue
        if point.dist is None:
            _log.warning("a judge without a package is left out", judge=point.name)
            continue
        found[point.name] = f"{point.dist.name} {point.dist.version}"[:MAX_ID]
    return found
