from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import unicodedata
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf import timestamp_pb2
from hypothesis import given
from hypothesis import strategies as st

from tailrace.cli.show import output, run_view
from tailrace.v1 import run_pb2

REORDERING = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


@given(st.text())
def test_no_control_character_reaches_the_terminal(text: str) -> None:
    escaped = output.printable(text)
    assert not any((ord(c) < 32 and c not in "\t\n") or 127 <= ord(c) < 160 for c in escaped)
    assert not any(unicodedata.bidirectional(c) in REORDERING for c in escaped)
    if text.isprintable():
        assert escaped == text


def test_what_deceives_is_shown_as_an_escape() -> None:
    text = "a\x1b[31m\x85\u202egnp\u2028b\udc80\U000e0041\tc"
    assert output.one_line(f"{text}\n") == (
        r"a\x1b[31m\x85\u202egnp\u2028b\udc80\U000e0041" + "\tc⏎"
    )


@given(st.text(alphabet="a\n\x1b\x85\u202e\u2028\udc80\U000e0041é⏎", max_size=20))
def test_json_means_exactly_the_data(text: str) -> None:
    written = output._json_text({"t": text})
    assert json.loads(written) == {"t": text}
    assert output.one_line(written) == written


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_what_the_terminal_cannot_show_is_replaced(plane: Any, encoding: str) -> None:
    plane.runs.predictions[0].text = "é\n≈ 3"
    printed = _run(plane, encoding, "runs", "predictions", "r")
    replaced = {"ascii": "??? 3", "latin-1": "é?? 3", "utf-8": "é⏎≈ 3"}
    assert replaced[encoding] in printed
    listed = json.loads(_run(plane, encoding, "runs", "predictions", "r", "--json"))
    assert listed[0]["text"] == "é\n≈ 3"


def _run(plane: Any, encoding: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tailrace.cli.main", *arguments, "--server", plane.address],
        env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"},
        capture_output=True,
        timeout=60,
        check=True,
    )
    return done.stdout.decode(encoding)


def test_table_keeps_markup_and_long_cells(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(["A", "N"], [["[red]x[/red]" + "y" * 300, 3], ["z\nz", 12]])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("[red]x[/red]" + "y" * 300)
    assert lines[1].endswith(" 3")
    assert lines[2].startswith("z⏎z")


def test_a_terminal_cuts_nothing(capsys: pytest.CaptureFixture[str], narrow_terminal: None) -> None:
    heads = ["JUDGE", "EVAL SET", "ITEM", "OUTCOME", "EXPECTED", "FOUND", "REASON"]
    item, judge, eval_set = "golden-v2-000123", "answer_correctness", "dataset:held_out"
    row = [judge, eval_set, item, "pass", "42", "a long answer " * 9, "they are equal"]
    output.print_table(heads, [row], text=("EXPECTED", "FOUND", "REASON"), keys=("ITEM",))
    text = re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)
    lines = text.splitlines()
    assert "…" not in text
    assert max(map(len, lines)) <= 80
    assert lines[1].split()[2:4] == [item, "pass"]
    for start, cell in ((0, judge), (11, eval_set)):
        assert "".join(line[start : start + 9].strip() for line in lines[1:]) == cell


def test_a_pipe_shortens_free_text_only(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table(["NAME", "TEXT"], [["n" * 100, "t" * 1000], ["m", "short"]], text=("TEXT",))
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("n" * 100 + "  t")
    assert lines[1].endswith("t…")
    assert [len(line) for line in lines] == [162] * 3


@pytest.mark.parametrize(("seconds", "text"), [(5, "0m05s"), (65, "1m05s"), (7265, "2h01m")])
def test_duration(seconds: int, text: str) -> None:
    start = timestamp_pb2.Timestamp(seconds=1_000_000)
    end = timestamp_pb2.Timestamp()
    end.FromDatetime(start.ToDatetime() + timedelta(seconds=seconds))
    assert output.duration(start, end) == text
    assert output.duration(timestamp_pb2.Timestamp(), end) == ""


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (1 << 40, "1.0 TiB")]
)
def test_size(count: int, text: str) -> None:
    assert output.size(count) == text


def test_reasons_of_gates_are_whole_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    run = run_pb2.Run(name="runs/r")
    reason = "score 0.05 is below the minimum of 0.1 " * 5
    run.gates.add(name="g", outcome=run_pb2.GATE_OUTCOME_FAILED, reason=reason.strip())
    run_view.print_result(run)
    assert reason.strip() in capsys.readouterr().out
