"""The tokens that a model's configuration names as ends."""

from __future__ import annotations

from typing import Any

import pytest

from tailrace.formats.model.config import end_token_ids


@pytest.mark.parametrize(
    ("value", "ids"), [(None, []), (2, [2]), ([2, 3], [2, 3]), (-1, [-1]), (2**31 - 1, [2**31 - 1])]
)
def test_one_several_or_none_are_read(value: Any, ids: list[int]) -> None:
    assert end_token_ids(value) == ids


@pytest.mark.parametrize("value", ["2", True, [2, "3"], 2**31, 10**30, [2, 10**30], -2])
def test_what_is_no_token_is_refused(value: Any) -> None:
    """A number that no array holds would end INFER as a fault, after a whole training."""
    with pytest.raises(ValueError, match="eos_token_id"):
        end_token_ids(value)
