from __future__ import annotations

import base64
import hashlib
import html
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tailrace.v1 import run_pb2


class Elements(HTMLParser):
    """The elements of a page as a browser reads them, and the text of each table's rows."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append("")

    def handle_data(self, data: str) -> None:
        if self.rows:
            self.rows[-1] += " ".join(data.split()) + " "

    def row(self, *parts: str) -> str:
        """The one row that contains all of these."""
        (match,) = (row for row in self.rows if all(part in row for part in parts))
        return re.sub(r"\s+", " ", match)


@pytest.fixture
def page(served: Any, finished: run_pb2.Run, tmp_path: Path) -> str:
    """The page of the finished run."""
    assert served("runs", "report", "demo", "-o", "page.html").code == 0
    return (tmp_path / "page.html").read_text(encoding="utf-8")


def test_scores_with_intervals_and_what_is_beside_them(page: str) -> None:
    read = Elements(page)
    row = read.row("answer_correctness version 3", "trained")
    assert "0.600 (0.407–0.766) 15/25, 1 errors" in row
    assert "if every error were a fail or a pass: 0.387 to 0.786" in row
    assert "smallest difference that this eval set can show: 0.280" in row
    assert "nothing to score 0/0" in read.row("contains")
    assert "+0.400 (+0.180 to +0.620) 11 1 13 0.0063 mcnemar" in read.row("the untouched model")
    assert "failed 0.6 0.6 is below" in read.row("good-enough")
    assert page.count("<h3>eval_v1 by category</h3>") == 2


def test_thinking_is_folded_beside_the_answer(
    served: Any, plane: Any, finished: run_pb2.Run, tmp_path: Path
) -> None:
    thinks, endless, *_ = plane.runs.predictions
    thinks.reasoning, thinks.answer, thinks.thinking_closed = "One <more>.", "Two", True
    endless.reasoning, endless.answer, endless.thinking_closed = "On and on", "", False
    assert served("runs", "report", "demo", "-o", "page.html").code == 0
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<summary>reasoning</summary>" in page
    assert "One &lt;more&gt;." in page
    assert "no answer: the thinking never ends" in Elements(page).row("On and on")


def test_bars_are_as_long_as_their_shares(page: str) -> None:
    shares = [
        float(str(attributes["width"]))
        for tag, attributes in Elements(page).found
        if tag == "rect" and attributes["class"] == "share"
    ]
    assert shares == [120.0, 40.0, *[50.0, 150.0] * 2]


def test_examples_that_did_not_pass_come_first(page: str) -> None:
    assert re.findall(r"Question (.)\?", page) == ["b", "c", "d", "a"]
    read = Elements(page)
    assert "not judged" in read.row("Question d?")
    assert "the context is used up" in read.row("Question c?")
    assert "reason a" in read.row("Question a?")
    for item, badge in (("a", "pass answer_correctness, 1"), ("c", "error answer_correctness")):
        assert read.row(f"Question {item}?").startswith(f"{badge} eval_v1")
    labels = re.findall(r"<label for=[^>]*>([^<]*)</label>", page)
    assert labels == ["all 4", "fail 1", "error 1", "not judged 1", "pass 1"]


def test_where_it_comes_from(page: str) -> None:
    read = Elements(page)
    assert "1,203 examples truncated or dropped for their length" in page
    assert "SKIPPED pool cpu result reused from runs/earlier/stages/train" in read.row("SKIPPED")
    assert "EXPIRED 1 w1" in read.row("LEASE_EXPIRED: no heartbeat for 30 s")
    assert "2026-03-01 12:00:40 UTC 0m41s" in read.row("w2")
    assert "sha256 " + "d1" * 32 in read.row("model.safetensors")
    assert "artifacts/" in read.row("metrics, attempt 1")
    assert "ab" * 32 in read.row("log of infer attempt 2, 12 lines")
    assert "max_steps: 10" in page
    assert "&#34;python&#34;: &#34;3.11.7&#34;" in page
    assert "the train stage started" in read.row("RUN_STATE_RUNNING")


def test_every_column_has_a_heading_and_every_cell_its_own(page: str) -> None:
    heads = re.findall(r"<thead><tr>(.*?)</tr></thead>", page)
    tables = re.findall(r'<table[^>]*class="stacked">(.*?)</table>', page, re.DOTALL)
    assert len(heads) == len(tables) >= 4
    for table in tables:
        names = re.findall(r"<th>(.*?)</th>", table)
        assert all(names)
        for row in re.findall(r"<tr(?: class=\"[^\"]*\")?>(<td.*?)</tr>", table, re.DOTALL):
            cells = re.findall(r"<td[^>]*>", row)
            assert len(cells) == len(names)
            for cell, name in zip(cells, names, strict=True):
                head = re.search(r'data-head="([^"]*)"', cell)
                assert (html.unescape(head[1]) if head else name) == html.unescape(name)
                assert head or 'class="empty"' in cell


def test_losses_beyond_measure_have_a_page(
    served: Any, plane: Any, finished: run_pb2.Run, tmp_path: Path
) -> None:
    losses = [1e308, -1.7e308, 5.0, float("inf"), float("nan"), 1.7e308]
    plane.runs.points = [
        run_pb2.MetricPoint(name="loss", step=step, value=value)
        for step, value in enumerate(losses, start=1)
    ]
    finished.stages[0].result.train.last_loss = 1.7e308
    assert served("runs", "report", "demo", "-o", "page.html").code == 0
    text = (tmp_path / "page.html").read_text()
    assert "5.5000 → 1.7e+308 nats" in text
    points = re.search(r'<polyline points="([^"]*)"', text)
    assert points
    assert len(points[1].split()) == 4
    assert not re.search(r"nan|inf\b", points[1])
    assert not re.search(r"\d{40}", re.sub("[0-9a-f]{64}|d1d1[d1]*", "", text))
    assert "1.7e+308" in served("runs", "get", "demo").out


def test_what_others_wrote_stays_text(page: str) -> None:
    elements = Elements(page).found
    assert [tag for tag, _ in elements if tag in ("script", "style", "img")] == ["style", "script"]
    assert not any(name.startswith("on") for _, attributes in elements for name in attributes)
    assert "&lt;img src=http://h/x onerror=alert(2)&gt;\\x00\\x1b[2J" in page
    assert not re.search(r"[\x00\x1b]", page)


def test_needs_nothing_else(page: str) -> None:
    elements = Elements(page).found
    loading = {"src", "href", "srcset", "action", "style", "data", "poster"}
    assert not any(loading & attributes.keys() for _, attributes in elements)
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert style
    assert "url(" not in style[1]
    assert "@import" not in style[1]


def test_the_policy_allows_the_pages_own_code_alone(page: str) -> None:
    policy = next(a["content"] for tag, a in Elements(page).found if "http-equiv" in a)
    sources = []
    for element in ("style", "script"):
        code = re.search(rf"<{element}>(.*?)</{element}>", page, re.DOTALL)
        assert code
        digest = base64.b64encode(hashlib.sha256(code[1].encode()).digest()).decode()
        sources.append(f"{element}-src 'sha256-{digest}'")
    assert policy == "; ".join(["default-src 'none'", *sources])


def test_a_run_that_goes_on_has_a_page_too(
    served: Any, plane: Any, finished: run_pb2.Run, tmp_path: Path
) -> None:
    bare = run_pb2.Run(name="runs/bare", state=run_pb2.RUN_STATE_RUNNING)
    bare.error.message, bare.error.signal = "killed", "SIGKILL"
    bare.error.log_tail.append("the last <line>")
    plane.runs.runs[bare.name] = bare
    plane.runs.points, plane.runs.predictions, plane.runs.verdicts = [], [], []
    plane.artifacts.artifacts.clear()
    assert served("runs", "report", "bare", "-o", "page.html").code == 0
    text = (tmp_path / "page.html").read_text()
    assert "had not ended" in text
    assert "SIGKILL" in text
    assert "the last &lt;line&gt;" in text
    assert "nothing was stored" in text
    assert 'class="chart"' not in text
    assert 'id="examples"' not in text
