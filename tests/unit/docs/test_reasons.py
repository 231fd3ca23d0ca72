"""The page of errors names every reason that the code gives, with its gRPC code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import pytest

from docs.generate.reasons import CALLS, STAGES, WORKER_CALLS
from docs.generate.repository import ROOT
from services.domain import errors
from services.domain.errors import Code
from training.errors import TrainingError
from workers.attempt import outcome

CODES = {
    name: kind.code.name
    for name, kind in vars(errors).items()
    if isinstance(kind, type) and isinstance(getattr(kind, "code", None), Code)
}


def given() -> Iterator[tuple[str, str]]:
    """Yield the reason and code of each error that the source of the control plane raises."""
    for path in sorted((ROOT / "services").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(
                    func=ast.Name(id=name), args=[ast.Constant(value=str(reason)), *_]
                ) if name in CODES:
                    yield reason, CODES[name]


@pytest.mark.parametrize(("reason", "code"), sorted(set(given())))
def test_the_page_has_the_reason_with_its_code(reason: str, code: str) -> None:
    assert {**CALLS, **WORKER_CALLS}[reason].code == code


def test_the_page_has_the_reasons_that_the_protos_name() -> None:
    text = "".join(
        re.sub(r"\n\s*// ?", " ", path.read_text())
        for path in sorted((ROOT / "protos").rglob("*.proto"))
    )
    lists = re.findall(r"Errors: (.+?)(?:rpc |\Z)", text, re.DOTALL)
    named = set(re.findall(r"[(;:,] ?([A-Z]+(?:_[A-Z]+)+)\b", " ".join(lists)))
    codes = {"INVALID_ARGUMENT", *(code.name for code in Code)}
    assert len(named - codes) > 20
    assert named - codes <= {*CALLS, *WORKER_CALLS}


def test_no_reason_on_the_page_is_unknown_to_the_code() -> None:
    source = "".join(
        path.read_text()
        for folder in ("services", "workers", "training")
        for path in sorted((ROOT / folder).rglob("*.py"))
    )
    reasons = {*CALLS, *WORKER_CALLS, *STAGES}
    assert {reason for reason in reasons if f'"{reason}"' not in source} == set()


def test_the_page_has_the_reasons_of_the_worker() -> None:
    for reason, facts in outcome._REASONS.items():
        assert STAGES[reason].code == facts.code.name


def kinds(parent: type[TrainingError]) -> Iterator[type[TrainingError]]:
    yield parent
    for kind in parent.__subclasses__():
        yield from kinds(kind)


@pytest.mark.parametrize("kind", list(kinds(TrainingError)))
def test_the_page_has_the_reasons_of_the_training_library(kind: type[TrainingError]) -> None:
    if kind.__module__ == "training.errors":
        code = "UNAVAILABLE" if kind.retryable else "FAILED_PRECONDITION"
        assert STAGES[kind.reason].code == code
