from __future__ import annotations

from pathlib import Path

from benchmarks.dataset_import.conversations import write_conversations
from tailrace.datasets import convert_file
from tailrace.formats.data.record import DatasetKind


def test_both_forms_are_the_same_conversations_every_time(tmp_path: Path) -> None:
    for name, form in [("a", "messages"), ("b", "messages"), ("c", "conversations")]:
        write_conversations(tmp_path / name, 20, form)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    lines = []
    for name in ("a", "c"):
        conversion = convert_file(tmp_path / name, tmp_path / f"{name}.out")
        assert (conversion.kind, conversion.lines) == (DatasetKind.MESSAGES, 20)
        lines.append(conversion.path.read_text().replace(": ", ":").replace(", ", ","))
    assert lines[0] == lines[1]
