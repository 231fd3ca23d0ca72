from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.schema import parse

FOLDER = Path(__file__).parent / "labelled"


def cases(name: str) -> list[dict[str, Any]]:
    lines = (FOLDER / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_every_line_is_a_case_with_a_label_and_its_reason() -> None:
    for case in [*cases("development"), *cases("held_out"), *cases("real_forms")]:
        assert set(case) == {"id", "item", "text", "label", "why"}, case["id"]
        assert parse(EvalItem, case["item"]).id == case["id"]
        assert case["label"] in ("pass", "fail"), case["id"]
        assert case["why"], case["id"]


def test_sizes_and_both_labels_in_numbers() -> None:
    development, held_out = cases("development"), cases("held_out")
    assert len(development) >= 110
    assert len(held_out) >= 50
    for part in (development, held_out):
        passed = sum(case["label"] == "pass" for case in part)
        assert 0.4 <= passed / len(part) <= 0.6


def test_no_case_is_in_twice_or_in_both_files() -> None:
    both = [*cases("development"), *cases("held_out"), *cases("real_forms")]
    assert len({case["id"] for case in both}) == len(both)
    settings = ("unit", "unit_required", "tolerance", "accepted_answers", "choices", "ordered")
    settings += ("prompt",)
    seen = [
        json.dumps(
            [case["item"]["expected_answer"], case["text"], *map(case["item"].get, settings)]
        )
        for case in both
    ]
    assert len(set(seen)) == len(seen)
