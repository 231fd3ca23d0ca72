"""The public contract as texts: a change in one of them is a change of behaviour.

Nothing internal is in it: no module, no class, no place in the code. The texts do not depend on
the machine, the time, the terminal, or the version of Python.
"""

from __future__ import annotations

from pathlib import Path

from tests.contract import (
    command_line,
    error_reasons,
    json_shapes,
    names,
    protos,
    scripts,
    settings,
    specs,
    tables,
)

FOLDER = Path(__file__).parent / "snapshot"
"""The committed texts."""


def collect() -> dict[str, str]:
    """Return the texts of the current code by file name."""
    return {
        "protos.txt": protos.text(),
        "run-spec.txt": specs.run_spec(),
        "formats.txt": specs.formats(),
        "errors.txt": error_reasons.text(),
        "exit-codes.txt": command_line.exit_code_text(),
        "commands.txt": command_line.commands_text(),
        "scripts.txt": scripts.text(),
        "json-output.txt": json_shapes.text(),
        "settings.txt": settings.text(),
        "names.txt": names.text(),
        "metrics.txt": names.metrics_text(),
        "tables-sqlite.sql": tables.sqlite(),
        "tables-postgresql.sql": tables.postgresql(),
    }
