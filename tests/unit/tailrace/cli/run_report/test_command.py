from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tailrace.v1 import run_pb2


def test_writes_the_page_and_says_so(served: Any, finished: run_pb2.Run, tmp_path: Path) -> None:
    result = served("runs", "report", "demo", "-o", "page.html", "--json")
    size = (tmp_path / "page.html").stat().st_size
    assert result.json() == {"report": "page.html", "size_bytes": size}
    assert "page.html (" in served("runs", "report", "demo", "-o", "page.html").out


def test_a_folder_gets_a_page_named_after_the_run(
    served: Any, finished: run_pb2.Run, tmp_path: Path
) -> None:
    (tmp_path / "pages").mkdir()
    assert "pages/demo.html (" in served("runs", "report", "demo", "-o", "pages").out
    assert (tmp_path / "pages/demo.html").is_file()


def test_a_limit_on_examples_is_told(served: Any, finished: run_pb2.Run, tmp_path: Path) -> None:
    served("runs", "report", "demo", "-o", "page.html", "--examples", "2")
    text = (tmp_path / "page.html").read_text()
    assert "more predictions than are shown" in text
    assert "Question b?" in text
    assert "Question c?" not in text
    served("runs", "report", "demo", "-o", "page.html", "--examples", "4")
    assert "more predictions than are shown" not in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("run", "target", "code", "message"),
    [("nope", "page.html", 3, "there is no runs/nope"), ("demo", "none/page.html", 2, "No such")],
)
def test_errors_leave_no_file(
    served: Any,
    finished: run_pb2.Run,
    tmp_path: Path,
    run: str,
    target: str,
    code: int,
    message: str,
) -> None:
    result = served("runs", "report", run, "-o", target)
    assert result.code == code
    assert message in result.err
    assert not (tmp_path / target).exists()
