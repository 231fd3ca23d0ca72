from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest

from services.domain.content.weight_values import has_non_finite

TYPES: dict[str, Any] = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": ml_dtypes.bfloat16,
}


@pytest.mark.parametrize("name", TYPES)
def test_every_value_that_is_not_finite_is_seen(name: str) -> None:
    limits = ml_dtypes.finfo(TYPES[name])
    finite = [0.0, -0.0, 1.5, limits.max, limits.min, limits.tiny, limits.smallest_subnormal]
    values = np.asarray(finite * 9, TYPES[name])
    assert not has_non_finite(name, values.tobytes())
    assert not has_non_finite(name, b"")
    for wrong in (np.nan, -np.nan, np.inf, -np.inf):
        for place in (0, 31, len(values) - 1):
            spoilt = values.copy()
            spoilt[place] = wrong
            assert has_non_finite(name, spoilt.tobytes())


def test_all_bit_patterns_of_half_precision_are_judged_right() -> None:
    patterns = np.arange(2**16, dtype=np.uint16)
    for name in ("F16", "BF16"):
        finite = np.isfinite(patterns.view(TYPES[name]).astype(np.float32))
        assert not has_non_finite(name, patterns[finite].tobytes())
        for pattern in patterns[~finite][::97]:
            assert has_non_finite(name, pattern.tobytes())
