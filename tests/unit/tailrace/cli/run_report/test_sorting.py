"""The page's script in a real browser; without it the page is complete, but unsorted."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tailrace.v1 import run_pb2
from tests.browser import Browser, installed
from tests.conftest import unavailable


@pytest.fixture
def browser(served: Any, finished: run_pb2.Run, tmp_path: Path) -> Iterator[Browser]:
    program = installed()
    if program is None:
        unavailable("needs a browser: apt-get install chromium")
    assert served("runs", "report", "demo", "-o", "page.html").code == 0
    with closing(Browser(program, tmp_path / "profile", tmp_path / "page.html")) as browser:
        yield browser


def column(browser: Browser, number: int) -> list[str]:
    """The texts of a column's visible cells, from the top."""
    cells: list[str] = browser.evaluate(
        "return Array.from(document.getElementById('examples').tBodies[0].rows)"
        f".filter((row) => !row.hidden).map((row) => row.cells[{number}].textContent.trim())"
    )
    return cells


def click(browser: Browser, number: int) -> str | None:
    """Click a column's head; how it says it is sorted."""
    text: str | None = browser.evaluate(
        f"const head = document.querySelectorAll('#examples thead th')[{number}];"
        "head.querySelector('button').click(); return head.getAttribute('aria-sort');"
    )
    return text


def search(browser: Browser, text: str) -> None:
    browser.evaluate(
        f"const box = document.getElementById('search'); box.value = {json.dumps(text)};"
        "box.dispatchEvent(new Event('input'));"
    )


def test_a_heads_button_sorts_and_a_second_click_turns_it_round(browser: Browser) -> None:
    items = 1
    assert click(browser, items) == "ascending"
    assert column(browser, items) == [f"eval_v1{item}trained" for item in "abcd"]
    assert click(browser, items) == "descending"
    assert column(browser, items) == [f"eval_v1{item}trained" for item in "dcba"]
    # Worst first, as they come; the other column no longer says that it sorts.
    assert click(browser, 0) == "ascending"
    verdicts = [text.split("answer_correctness")[0] for text in column(browser, 0)]
    assert verdicts == ["fail", "error", "not judged", "pass"]
    heads = "return Array.from(document.querySelectorAll('th[aria-sort]')).length"
    assert browser.evaluate(heads) == 1


def test_searching_hides_what_does_not_hold_the_text(browser: Browser) -> None:
    search(browser, "QUESTION B")
    assert column(browser, 1) == ["eval_v1btrained"]
    search(browser, "")
    assert len(column(browser, 1)) == 4


def test_what_a_model_wrote_is_text(browser: Browser) -> None:
    assert browser.evaluate("return document.images.length + document.scripts.length") == 1


@pytest.mark.parametrize("width", [1280, 800, 390])
def test_nothing_is_wider_than_the_window(browser: Browser, width: int) -> None:
    browser.resize(width)
    boxes = browser.evaluate(
        "return ['.wide:has(.stacked)', '.text:not(.long)', 'html'].flatMap((selector) => "
        "Array.from(document.querySelectorAll(selector)).map((box) => "
        "[selector, box.scrollWidth - box.clientWidth]))"
    )
    assert len(boxes) > 10
    assert [box for box in boxes if box[1] > 0] == []
    reasons = "Array.from(document.querySelectorAll('#examples td:last-child')).at(-1)"
    assert browser.evaluate(f"return {reasons}.clientWidth") > 140
