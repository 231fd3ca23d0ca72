from __future__ import annotations

import numpy as np
import pytest

from training.models.initializers import Initializer, ShapeInitializer, constant


def test_a_seed_gives_the_same_values_in_the_same_order() -> None:
    first, second = Initializer(7), Initializer(7)
    for shape in ((3, 4), (5,)):
        np.testing.assert_array_equal(first.normal(shape, 0.1), second.normal(shape, 0.1))
    assert not np.array_equal(Initializer(7).normal((3,), 1.0), Initializer(8).normal((3,), 1.0))


def test_values_have_the_spread_and_are_single_precision() -> None:
    drawn = Initializer(0).normal((200, 300), 0.02)
    assert drawn.dtype == np.float32
    assert float(np.std(drawn)) == pytest.approx(0.02, rel=0.02)
    assert float(np.mean(drawn)) == pytest.approx(0, abs=0.001)


def test_where_only_shapes_are_wanted_nothing_is_drawn() -> None:
    assert ShapeInitializer().normal((2, 3), 1.0).tolist() == [[0, 0, 0]] * 2


def test_constant() -> None:
    assert (constant(2, 1).tolist(), constant(2, 1).dtype) == ([1, 1], np.float32)
