from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tailrace.formats.certificate import CERTIFICATES, Certificate, Finding, compare
from tailrace.formats.schema import parse
from training.checkpoints.certificate import certify, digest_arrays
from training.checkpoints.checkpoint import Checkpoint
from training.checkpoints.metrics import MetricsFile


def make(step: int = 4, **changes: Any) -> Checkpoint:
    fields: dict[str, Any] = {
        "arrays": {
            "[0]['w']": np.arange(6, dtype=np.float32).reshape(2, 3),
            "[1].count": np.asarray(3, np.int32),
        },
        "rng": [0, 42],
        "progress": {"tokens": 10, "window": [0.5]},
        "identity": {"train": {"seed": 1, "epochs": 2.0}, "dataset": "abc"},
        "conditions": {"device": "cpu"},
    }
    return Checkpoint(step=step, **{**fields, **changes})


def changed(name: str, value: Any) -> Checkpoint:
    return make(arrays={**make().arrays, name: np.asarray(value)})


@pytest.mark.parametrize(
    ("other", "part"),
    [
        (changed("[0]['w']", np.zeros((2, 3), np.float32)), "parameters"),
        (changed("[1].count", np.asarray(4, np.int32)), "optimizer"),
        (make(rng=[0, 43]), "rng"),
        (make(progress={"tokens": 11, "window": [0.5]}), "cursor"),
    ],
)
def test_each_part_is_told_apart(other: Checkpoint, part: str) -> None:
    difference = compare([certify(make())], [certify(other)])
    assert (difference.finding, difference.first_difference) == (Finding.NOT_REPRODUCED, 4)
    assert difference.parts == [part]


def test_the_same_state_has_the_same_digest_whatever_the_order() -> None:
    arrays = make().arrays
    turned = dict(reversed(list(arrays.items())))
    assert certify(make(arrays=turned)) == certify(make())
    fortran = {**arrays, "[0]['w']": np.asfortranarray(arrays["[0]['w']"])}
    assert certify(make(arrays=fortran)).digest == certify(make()).digest
    assert certify(make(step=5)).digest != certify(make()).digest


def test_how_often_metrics_are_logged_does_not_matter() -> None:
    other = make(progress={"tokens": 10, "window": []})
    assert certify(other).digest == certify(make()).digest


def test_shape_type_and_name_count() -> None:
    values = np.zeros(4, np.float32)
    variants: list[dict[str, Any]] = [
        {"a": values},
        {"b": values},
        {"a": values.reshape(2, 2)},
        {"a": values.astype(np.int32)},
    ]
    assert len({digest_arrays(change) for change in variants}) == len(variants)


def test_settings_are_flat_and_readable() -> None:
    assert certify(make()).identity == {
        "dataset": "abc",
        "train.seed": "1",
        "train.epochs": "2.0",
    }


def test_certificates_lie_beside_the_metrics_and_continue(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    first = MetricsFile(path)
    issued = [certify(make(step)) for step in (2, 4, 6)]
    for certificate in issued:
        first.certificate(certificate)
    first.close()
    again = MetricsFile(path, resumed_step=4)
    again.certificate(dataclasses.replace(issued[2], rng="0" * 64))
    again.close()
    lines = (tmp_path / CERTIFICATES).read_text().splitlines()
    read = [parse(Certificate, json.loads(line)) for line in lines]
    assert read[:2] == issued[:2]
    assert [one.step for one in read] == [2, 4, 6]
    assert read[2].rng == "0" * 64
