from __future__ import annotations

import asyncio
import contextlib
import json
import time
from pathlib import Path

import psutil
import pytest

from services import model_check
from services.domain.content.chat_template import template_problem
from services.model_check import THREAD_BYTES, check, check_here
from tailrace.formats.model.check import ModelFiles, read_folder
from tests.model_folder import TOKENIZER, write


def large(folder: Path, tokens: int = 100_000, **config: object) -> ModelFiles:
    """A folder whose tokenizer is too large for a thread."""
    write(folder)
    vocabulary = {f"token number {i}": i + 3 for i in range(tokens)} | TOKENIZER["model"]["vocab"]
    tokenizer = {**TOKENIZER, "model": {**TOKENIZER["model"], "vocab": vocabulary}}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    changed = {**json.loads((folder / "config.json").read_text()), **config}
    (folder / "config.json").write_text(json.dumps(changed))
    files = read_folder(folder)
    assert len(files.documents["tokenizer.json"]) > THREAD_BYTES
    return files


@pytest.mark.parametrize("config", [{}, {"n_embd": None}, {"vocab_size": 4}])
async def test_a_process_finds_what_a_thread_finds(tmp_path: Path, config: dict[str, int]) -> None:
    files = large(tmp_path / "model", **config)
    expected = await asyncio.to_thread(check_here, files)
    assert await check(files) == expected
    assert bool(expected.problems) is bool(config)


async def test_the_loop_stays_free(tmp_path: Path) -> None:
    files = large(tmp_path / "model", 200_000)
    task = asyncio.ensure_future(check(files))
    longest, start_time = 0.0, time.perf_counter()
    while not task.done():
        await asyncio.sleep(0.001)
        longest = max(longest, time.perf_counter() - start_time)
        start_time = time.perf_counter()
    assert not (await task).problems
    alone = time.perf_counter()
    json.loads(files.documents["tokenizer.json"])
    assert longest < max(0.1, time.perf_counter() - alone)


async def test_a_cancelled_call_ends_its_check(tmp_path: Path) -> None:
    before = {*psutil.Process().children()}  # servers that other tests share
    task = asyncio.ensure_future(check(large(tmp_path / "model", 200_000)))
    while before == {*psutil.Process().children()}:  # noqa: ASYNC110 - nothing says when it begins
        await asyncio.sleep(0.001)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    assert {*psutil.Process().children()} <= before


async def test_a_check_that_dies_refuses_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_check.sys, "executable", "/bin/false")
    findings = await check(large(tmp_path / "model"))
    assert findings.problems == [(None, "the folder takes too much time or memory to be checked")]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{{ messages }}", ""),
        ("{% generation %}{{ messages }}{% endgeneration %}", ""),
        ("{% if not messages %}{{ raise_exception('x') }}{% endif %}{{ messages }}", ""),
        ("{{ raise_exception('x') if tools else messages }}", ""),
        ("{% macro f() %}{{ raise_exception('x') }}{% endmacro %}{{ messages }}", ""),
        ("{{ messages }}\n{{ raise_exception('x') }}", "refuses every prompt"),
        ("{% set x = raise_exception('x') %}", "refuses every prompt"),
        ("a\n{% for m in messages %}", "syntax error in line 2"),
        ("{% nothing %}", "syntax error in line 1"),
        ("{{ " + "(" * 50_000, "is nested too deeply"),
    ],
)
def test_templates_are_parsed_and_never_run(text: str, says: str) -> None:
    problem = template_problem(text)
    assert says in problem if says else problem == ""
