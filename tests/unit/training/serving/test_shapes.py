from __future__ import annotations

import itertools

import pytest

from training.errors import ConfigError, DoesNotFitError
from training.models.family import Model
from training.models.registry import model_from_config
from training.serving import shapes
from training.serving.shapes import Shapes

CONFIG = {"model_type": "gpt2", "n_positions": 4096, "n_embd": 16, "n_layer": 2, "n_head": 2}


@pytest.fixture(scope="module")
def long_model() -> Model:
    return model_from_config({**CONFIG, "vocab_size": 64})


def test_sizes_double_up_to_the_context(long_model: Model) -> None:
    sizes = Shapes.of(long_model, 4, 1000)
    assert sizes.widths == [64, 128, 256, 512, 1024]
    assert sizes.columns == [256, 512, 1024]
    assert (sizes.width(1), sizes.width(65), sizes.width(999)) == (64, 128, 1024)
    assert (sizes.cache(3), sizes.cache(257), sizes.cache(5000)) == (256, 512, 1024)
    assert [sizes.is_long(count) for count in (256, 257)] == [False, True]


def test_chunks_fill_the_columns_of_every_long_prompt(long_model: Model) -> None:
    for context in (200, 256, 257, 700, 1536, 4000):
        sizes = Shapes.of(long_model, 4, context)
        long = [width for width in sizes.widths if sizes.is_long(width)]
        assert all(width % shapes.CHUNK == 0 for width in long)
        assert sizes.widths[-1] >= context
        assert all(small < large for small, large in itertools.pairwise(sizes.columns))


def test_rows_fit_the_parts_of_a_mesh(long_model: Model) -> None:
    sizes = Shapes.of(long_model, 6, 64, row_parts=4)
    assert (sizes.slots, sizes.rows, sizes.chunk) == (8, 4, None)


def test_the_context_fits_half_of_the_free_memory(
    long_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Shapes.of(long_model, 4, None)
    assert whole.context == 4096
    token = 2 * 2 * 16 * 4
    assert whole.bytes(long_model) == token * 4096 * 5
    monkeypatch.setattr(shapes, "_free_memory", lambda: token * 4096 * 5)
    assert Shapes.of(long_model, 4, None).context == 2048
    assert Shapes.of(long_model, 4, 4096).context == 4096
    monkeypatch.setattr(shapes, "_free_memory", lambda: token * 4000 * 5)
    with pytest.raises(DoesNotFitError, match="lower --slots or --context"):
        Shapes.of(long_model, 4, 4096)


def test_a_context_beyond_the_models_is_refused(long_model: Model) -> None:
    with pytest.raises(ConfigError, match="--context 5000 exceeds the model's context of 4096"):
        Shapes.of(long_model, 4, 5000)
