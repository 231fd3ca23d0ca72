from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import pytest

from tailrace.formats.canonical import canonical_json
from tailrace.formats.certificate import Certificate
from tailrace.formats.schema import to_mapping
from tailrace.v1 import artifact_pb2

CHECKPOINT = artifact_pb2.ARTIFACT_KIND_CHECKPOINT
METRICS = artifact_pb2.ARTIFACT_KIND_METRICS


def make(step: int, parameters: str = "p", **changes: Any) -> Certificate:
    def sha(text: str) -> str:
        return hashlib.sha256(f"{text}{step}".encode()).hexdigest()

    base = Certificate(
        step=step,
        parameters=sha(parameters),
        optimizer=sha("o"),
        rng=sha("r"),
        cursor=sha("c"),
        identity={"train.seed": "1"},
        conditions={"device": "cpu"},
    )
    return dataclasses.replace(base, **changes)


def text(*certificates: Certificate) -> bytes:
    return "".join(
        canonical_json(to_mapping(certificate)) + "\n" for certificate in certificates
    ).encode()


@pytest.fixture
def runs(served: Any, plane: Any) -> Any:
    """``resumed`` went on in a second attempt from step 4, ``whole`` was never disturbed."""
    add = plane.artifacts.add
    add(CHECKPOINT, {"certificate.json": text(make(4)), "x": b"1"}, run="runs/resumed", attempt=1)
    both = {"certificates.jsonl": text(make(8), make(10)), "metrics.jsonl": b""}
    add(CHECKPOINT, {"certificate.json": text(make(8)), "x": b"2"}, run="runs/resumed", attempt=2)
    add(METRICS, both, run="runs/resumed", attempt=2)
    add(METRICS, {"certificates.jsonl": text(make(4), make(8), make(10))}, run="runs/whole")
    return served


def test_the_certificates_of_a_run(runs: Any) -> None:
    result = runs("runs", "verify", "resumed", "--json")
    assert result.code == 0
    seen = result.json()["certificates"]
    assert [(one["step"], one["attempt"]) for one in seen] == [(4, 1), (8, 2), (10, 2)]
    assert seen[0]["digest"] == make(4).digest
    output = runs("runs", "verify", "resumed").out
    assert make(10).digest in output
    assert "device: cpu" in output


def test_a_resumed_run_equals_an_undisturbed_one(runs: Any) -> None:
    result = runs("runs", "verify", "resumed", "whole")
    assert result.code == 0
    assert "equal at every common step (3 common steps, 4 to 10)" in result.out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "NOT REPRODUCED"),
        ({"conditions": {"device": "H100"}}, "device: cpu | H100"),
        ({"identity": {"train.seed": "2"}}, "train.seed: 1 | 2"),
    ],
)
def test_a_difference_is_told_with_its_reason(
    runs: Any, plane: Any, changes: dict[str, Any], message: str
) -> None:
    other = text(make(4), make(8, "q", **changes))
    plane.artifacts.add(METRICS, {"certificates.jsonl": other}, run="runs/other")
    result = runs("runs", "verify", "resumed", "other")
    assert result.code == 8
    assert message in result.out
    assert "first difference at step 8: parameters" in result.out
    document = runs("runs", "verify", "resumed", "other", "--json").json()
    assert (document["first_difference"], document["parts"]) == (8, ["parameters"])


def test_attempts_that_disagree(runs: Any, plane: Any) -> None:
    files = {"certificates.jsonl": text(make(4, "q"))}
    plane.artifacts.add(METRICS, files, run="runs/resumed", attempt=2)
    result = runs("runs", "verify", "resumed")
    assert result.code == 8
    assert "disagree at step 4" in result.out
    assert runs("runs", "verify", "resumed", "--json").json()["contradictions"] == [4]


def test_a_run_without_certificates(runs: Any) -> None:
    result = runs("runs", "verify", "untrained")
    assert result.code == 3
    assert "untrained has no certificates" in result.err


def test_a_file_that_is_none(runs: Any, plane: Any) -> None:
    plane.artifacts.add(METRICS, {"certificates.jsonl": b"{}\n"}, run="runs/broken")
    result = runs("runs", "verify", "broken")
    assert result.code == 2
    assert "certificates.jsonl:1 is not a certificate" in result.err
    assert "Traceback" not in result.err
