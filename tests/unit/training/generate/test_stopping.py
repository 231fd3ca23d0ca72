from __future__ import annotations

from collections.abc import Sequence

import pytest

from training.generate.stopping import find_stop

PIECES = {0: "<end>", 1: "a", 2: "b\n", 3: "\n\nc"}


def written(tokens: Sequence[int]) -> str:
    return "".join(PIECES[token] for token in tokens)


def visible(tokens: Sequence[int]) -> str:
    return written([token for token in tokens if token])


@pytest.mark.parametrize(
    ("tokens", "stop", "ending"),
    [
        ([1, 0, 2, 1], "<end>b", (3, "a")),
        ([1, 2, 0, 2], "\n<end>", (3, "ab")),
        ([0, 1, 0, 3], "<end>\n", (4, "a")),
        ([0, 1, 2, 3], "b\n\n", (4, "a")),
        ([1, 0, 2, 1], "<end>a", None),
        # What is spelled without the special token counts as ever.
        ([1, 2], "b", (2, "a")),
    ],
)
def test_a_stop_string_with_special_tokens(
    tokens: list[int], stop: str, ending: tuple[int, str] | None
) -> None:
    assert find_stop(tokens, 0, [stop], visible, written) == ending
    if "<end>" in stop:
        assert find_stop(tokens, 0, [stop], visible) is None
