"""The pages that show how to extend Tailrace show code that works, or that is the code."""

from __future__ import annotations

import ast
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from docs.generate.repository import ROOT
from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.spec import judge_spec, methods, train_spec
from training.judges.base import JudgeSetup

PAGES = sorted((ROOT / "docs" / "extending").glob("*.md"))
QUOTED = re.compile(r"^`([\w/.]+\.py)`:\n\n```python\n(.*?)```", re.MULTILINE | re.DOTALL)

ADDED = re.compile("word_limit|smoothed")
"""Judge and training method that pages add."""


def quotations() -> list[tuple[str, str, str]]:
    return [
        (page.name, file, code)
        for page in PAGES
        for file, code in QUOTED.findall(page.read_text())
        if not ADDED.search(file)
    ]


def dumps(source: str) -> set[str]:
    """Return each statement without docstrings, so that only code is compared."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            node.body = [line for line in node.body if not is_text(line)] or [ast.Pass()]
    return {ast.dump(node) for node in ast.walk(tree) if isinstance(node, ast.stmt)}


def is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


@pytest.mark.parametrize(("page", "file", "code"), quotations())
def test_quoted_code_is_in_its_file(page: str, file: str, code: str) -> None:
    assert dumps(code) <= dumps((ROOT / file).read_text()), f"{page} quotes other code than {file}"


def test_code_is_quoted() -> None:
    assert len(quotations()) >= 5


@pytest.mark.parametrize("page", [page.name for page in PAGES])
def test_files_that_a_page_names_exist(page: str) -> None:
    text = (ROOT / "docs" / "extending" / page).read_text()
    names = set(
        re.findall(r"`((?:services|workers|training|tailrace|tests|protos|docs)/[\w/.]+)`", text)
    )
    missing = {name for name in names if not (ROOT / name).exists()}
    assert {name for name in missing if not ADDED.search(name) and "NAME" not in name} == set()


def test_the_page_of_stage_kinds_names_every_file_that_asks_for_a_kind() -> None:
    page = (ROOT / "docs" / "extending" / "stage-kind.md").read_text()
    files = {
        str(path.relative_to(ROOT))
        for package in ("services", "workers", "training", "tailrace")
        for path in (ROOT / package).rglob("*.py")
        if re.search(r"\bStageKind\.[A-Z]{2}|\bSTAGE_KIND_[A-Z]", path.read_text())
        and "v1" not in path.parts
    }
    assert len(files) > 8
    assert {file for file in files if f"`{file}`" not in page} == set()


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / "extending" / page).read_text()
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.fixture
def word_limit(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module of the judge that the page adds, with the options that the page adds."""
    entry, options, field, judge, _test = blocks("judge.md", "python")
    assert "BuiltInJudge(" in entry
    assert "word_limit" in field
    namespace: dict[str, Any] = vars(judge_spec) | {"__name__": judge_spec.__name__}
    exec(options, namespace)  # noqa: S102 - the page's own code
    monkeypatch.setattr(
        judge_spec, "WordLimitOptions", namespace["WordLimitOptions"], raising=False
    )
    monkeypatch.setitem(judge_spec.JUDGES, "word_limit", "1")
    module = ModuleType("word_limit")
    monkeypatch.setitem(sys.modules, "word_limit", module)
    exec(judge, vars(module))  # noqa: S102
    return module


def test_the_judge_of_the_page_judges(word_limit: ModuleType) -> None:
    options = word_limit.WordLimitOptions(max_words=2)
    judge = word_limit.WordLimitJudge(JudgeSetup(SimpleNamespace(word_limit=options)))  # type: ignore[arg-type]
    eval_item = EvalItem("i", "p", "x")
    assert (judge.name, judge.version) == ("word_limit", "1")
    assert judge.judge(eval_item, "one two").passed
    verdict = judge.judge(eval_item, "one two three")
    assert (verdict.passed, verdict.score) == (False, 0)
    assert verdict.reason == "has 3 words, at most 2 pass"


@pytest.fixture
def smoothed(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The test of the method that the page adds, over the page's options and objective."""
    options, _field, objective, entry, test = blocks("training-method.md", "python")
    assert entry.strip() == '"smoothed": SmoothedObjective,'
    namespace: dict[str, Any] = vars(methods) | {"__name__": methods.__name__}
    exec(options, namespace)  # noqa: S102 - the page's own code
    monkeypatch.setattr(methods, "SmoothedSpec", namespace["SmoothedSpec"], raising=False)

    @dataclass(frozen=True)
    class Extended(train_spec.TrainSpec):
        METHODS = ("sft", "smoothed")
        smoothed: Any = None

    monkeypatch.setattr(train_spec, "TrainSpec", Extended)
    module = ModuleType("training.objectives.smoothed")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(objective, vars(module))  # noqa: S102
    names: dict[str, Any] = {}
    exec(test, names)  # noqa: S102
    return names


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_training_method_of_the_page_computes_its_loss(
    smoothed: dict[str, Any], smoothing: float
) -> None:
    test = smoothed["test_smoothing_moves_the_loss_towards_the_uniform_distribution"]
    test(smoothing)


def test_python_on_the_pages_parses() -> None:
    for page in [*PAGES, *Path(ROOT, "docs").glob("*.md")]:
        for block in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
            if not block.startswith("    "):
                ast.parse(block)
