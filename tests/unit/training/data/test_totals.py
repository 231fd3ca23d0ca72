from __future__ import annotations

import numpy as np
import pytest

from tailrace.formats.data.message import Role
from training.data.rendered_example import RenderedExample
from training.data.totals import Totals, trained_by_role


def rendered(mask: str, authors: list[tuple[tuple[int, int], Role]]) -> RenderedExample:
    """Return an example with tokens of two characters; ``mask`` has an x for learnt ones."""
    count = len(mask)
    begins = np.arange(count) * 2
    return RenderedExample(
        "ab" * count,
        np.arange(count, dtype=np.int32),
        np.asarray([letter == "x" for letter in mask]),
        np.stack([begins, begins + 2], axis=1),
        authors,
        [],
        [],
    )


AUTHORS = [((2, 5), Role.USER), ((8, 14), Role.ASSISTANT)]


@pytest.mark.parametrize(
    ("mask", "length", "expected"),
    [
        ("xxxxxxxx", 8, {"user": 2, "assistant": 3, "template": 2}),
        ("....xxx.", 8, {"assistant": 3}),
        ("....xxx.", 5, {"assistant": 1}),
        (".......x", 8, {"template": 1}),
        ("x.......", 8, {}),
        ("........", 8, {}),
    ],
)
def test_the_loss_is_shared_by_author(mask: str, length: int, expected: dict[str, int]) -> None:
    example = rendered(mask, AUTHORS)
    assert trained_by_role(example, length) == expected
    roles = [str(role) if role else "template" for role in example.roles]
    counted = [roles[i] for i in range(1, length) if mask[i] == "x"]
    assert {role: counted.count(role) for role in counted} == expected


def test_totals_add_up() -> None:
    totals = Totals(max_length=6)
    totals.add(rendered("....xxx.", AUTHORS), 8, 0)
    totals.add(rendered("....xxx.", AUTHORS), 7, 6)
    totals.add(rendered(".xx.", AUTHORS), 3, 3)
    totals.add(rendered("..", AUTHORS), 0, 0)
    assert (totals.examples, totals.tokens, totals.trained_tokens, totals.overlong) == (4, 9, 4, 2)
    assert totals.loss_share == {"assistant": 0.5, "user": 0.5}
    assert totals.length_percentiles == {"p50": 3, "p90": 8, "p99": 8, "max": 8}
    assert totals.summary("lines") == (
        "4 lines: 9 tokens, 4 of them trained (assistant 50.0%, user 50.0%); 2 longer than "
        "max_seq_length 6, 0 without a trained token"
    )
    assert Totals(6).to_mapping()["lengths"] == {}
