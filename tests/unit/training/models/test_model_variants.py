"""Every variant of a model folder loads as it did before, or is refused in one line, and an import
says the same as a run on this machine does."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from transformers import AutoTokenizer

from services.domain.caller import Caller
from services.domain.errors import InvalidInput
from services.usecases.content import models
from services.usecases.context import Context
from tailrace.formats.listing import FileEntry
from tests.model_variants import LOADS, REFUSED, Folder, write
from tests.unit.services.usecases.stored_content import make_context, put
from training.data.rendering import render_prompt
from training.data.tokenizer import load_tokenizer
from training.errors import TrainingError
from training.models.folder import end_tokens, load_model

TEXT = "hello <end> world"


def variant(change: Any, place: Path) -> Path:
    folder = Folder()
    change(folder)
    return write(folder, place / "model")


@cache
def logits_of(folder: Path) -> Any:
    model, params = load_model(folder)
    tokens = np.arange(10)[None]
    mask = jnp.tril(jnp.ones((10, 10), bool))[None]
    decoder = model.bind(params)
    hidden, _ = decoder.hidden(tokens, tokens, mask)
    return np.asarray(decoder.logits(hidden))


def begin(folder: Path) -> None:
    """What a run does first."""
    load_model(folder)
    end_tokens(folder)
    render_prompt(load_tokenizer(folder), "hello")


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return logits_of(variant(lambda _: None, tmp_path_factory.mktemp("plain")))


@pytest.fixture
async def context(sqlite_url: str, tmp_path: Path) -> Any:
    made = make_context(sqlite_url, tmp_path / "data")
    yield made
    await made.database.close()


async def import_folder(context: Context, folder: Path) -> Any:
    files: list[FileEntry] = []
    for path in filter(Path.is_file, sorted(folder.rglob("*"))):  # noqa: ASYNC240 - tiny
        files.append(await put(context, path.relative_to(folder).as_posix(), path.read_bytes()))
    return await models.import_folder(context, Caller(), "mine", "", files)


@pytest.mark.parametrize("name", LOADS)
async def test_what_loads(name: str, tmp_path: Path, plain: Any, context: Context) -> None:
    folder = variant(LOADS[name], tmp_path)
    halves = name in ("float16", "bfloat16", "mixed")
    np.testing.assert_allclose(logits_of(folder), plain, atol=0.02 if halves else 1e-6)
    tokenizer = load_tokenizer(folder)
    expected = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    assert tokenizer(TEXT)["input_ids"] == expected(TEXT)["input_ids"]
    assert "hello" in render_prompt(tokenizer, "hello")
    assert end_tokens(folder) <= {0, 1}
    assert (await import_folder(context, folder)).architecture.startswith("Llama")


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_refused(name: str, tmp_path: Path, context: Context) -> None:
    change, words = REFUSED[name]
    folder = variant(change, tmp_path)
    with pytest.raises(TrainingError, match=words) as offline:
        begin(folder)
    assert "\n" not in str(offline.value)
    if name in ("pickled", "GGUF"):
        words = "convert it"  # Such a file is not even taken in.
    with pytest.raises(InvalidInput) as imported:
        await import_folder(context, folder)
    text = "; ".join(violation.description for violation in imported.value.violations)
    assert re.search(words, re.sub(r"'([\w.]+\.\w+)'", r"\1", text))
