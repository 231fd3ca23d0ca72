"""The page of errors names every reason of the recorded contract, with its gRPC code."""

from __future__ import annotations

import re

from docs.generate.reasons import CALLS, STAGES, WORKER_CALLS
from docs.generate.repository import ROOT

OF_CALLS = {**CALLS, **WORKER_CALLS}
SECTIONS = {
    title: re.findall(r"^  (\S+)(?: (?:retryable )?(\S+))?$", body, re.MULTILINE)
    for title, body in re.findall(
        r"^(\S.*)\n((?:  .*\n)+)", (ROOT / "tests/contract/snapshot/errors.txt").read_text(), re.M
    )
}
"""Reasons of the contract, each with its code or whether a stage is tried again."""

NOT_OF_ERRORS = {"NO_ANSWER", "SLOT_QUARANTINED", "RESOURCE_EXHAUSTED", "EVAL_SET"}
"""Words in the contract's list that no error carries: results of deliveries that ran nothing, as
Flower shows them, the beginning of XLA's message, and a metavar."""

RETRIED = {"UNAVAILABLE", "ABORTED", "DEADLINE_EXCEEDED", "INTERNAL"}


def test_the_page_has_the_reasons_of_calls_with_their_codes() -> None:
    recorded = dict(SECTIONS["reasons of failed calls"])
    assert len(recorded) > 30
    assert recorded == {name: OF_CALLS[name].code for name in recorded}


def test_the_page_has_the_reasons_of_the_training_library() -> None:
    recorded = dict(SECTIONS["reasons of failed stages"])
    assert len(recorded) > 10
    assert recorded == {name: str(STAGES[name].code in RETRIED) for name in recorded}


def test_the_page_has_every_other_reason_and_none_besides() -> None:
    recorded = {name for section in SECTIONS.values() for name, _ in section}
    assert {*OF_CALLS, *STAGES} - {"INTERNAL"} == recorded - NOT_OF_ERRORS
