from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.domain.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidInput,
    NotFound,
)
from services.domain.model import Model
from services.usecases import models
from services.usecases.context import Context
from tailrace.formats.listing import FileEntry

from .content import make_context, not_uploaded, put, safetensors

PROJECT = "default"
CONFIG = json.dumps({"architectures": ["GPT2LMHeadModel"], "n_layer": 1}).encode()


@pytest.fixture
async def context(database_url: str, tmp_path: Path) -> AsyncIterator[Context]:
    made = make_context(database_url, tmp_path / "data")
    yield made
    await made.database.close()


@pytest.fixture
async def local(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Context]:
    """For what does not depend on the database."""
    made = make_context(sqlite_url, tmp_path / "data")
    yield made
    await made.database.close()


async def folder(context: Context, weights: bytes | None = None) -> list[FileEntry]:
    return [
        await put(context, "config.json", CONFIG),
        await put(context, "model.safetensors", safetensors() if weights is None else weights),
        await put(context, "tokenizer.json", b"{}"),
        await put(context, "chat_template.jinja", b""),
    ]


async def import_folder(context: Context, files: list[FileEntry], model_id: str = "mine") -> Model:
    return await models.import_folder(context, PROJECT, model_id, "Mine.", files)


async def refused(context: Context, files: list[FileEntry]) -> dict[str, str]:
    with pytest.raises(InvalidInput) as error:
        await import_folder(context, files)
    return {v.field: v.description for v in error.value.violations}


async def test_an_imported_model_is_found_again(context: Context) -> None:
    made = await import_folder(context, await folder(context))
    assert (made.name, made.architecture) == ("models/mine", "GPT2LMHeadModel")
    assert len(made.artifact.listing.files) == 4
    assert await models.get(context, PROJECT, "models/mine") == made
    async with context.database.read() as conn:
        assert await models.resolve(conn, PROJECT, "models/mine") == made


async def test_importing_again_returns_the_model_there_is(context: Context) -> None:
    files = await folder(context)
    assert await import_folder(context, files) == await import_folder(context, files[::-1])


async def test_an_id_keeps_its_files(context: Context) -> None:
    made = await import_folder(context, await folder(context))
    with pytest.raises(AlreadyExists):
        await import_folder(context, await folder(context, safetensors(8)))
    assert await models.get(context, PROJECT, "models/mine") == made


async def test_every_unfit_file_is_named_with_its_reason(local: Context) -> None:
    names = [
        "pytorch_model.bin",
        "weights.PT",
        "modeling.py",
        "README.md",
        "../config.json",
        "noext",
        "w.SAFETENSORS",
    ]
    found = await refused(local, [not_uploaded(name) for name in names])
    assert "run code" in found["files[0].path"]
    assert "run code" in found["files[1].path"]
    assert "is code" in found["files[2].path"]
    assert set(found) >= {f"files[{i}].path" for i in range(len(names))} | {"files"}


async def test_a_folder_needs_a_config_and_weights(local: Context) -> None:
    files = await folder(local)
    assert "config.json" in (await refused(local, files[1:]))["files"]
    assert "safetensors" in (await refused(local, [files[0], files[2]]))["files"]
    nested = FileEntry("sub/config.json", files[0].sha256, files[0].size_bytes)
    assert "config.json" in (await refused(local, [nested, files[1]]))["files"]


@pytest.mark.parametrize(
    "config", [b"", b"[]", b"{}", b'{"architectures": []}', b'{"architectures": ["a b"]}', b"["]
)
async def test_a_config_must_name_its_architecture(local: Context, config: bytes) -> None:
    files = [await put(local, "config.json", config), *(await folder(local))[1:]]
    assert set(await refused(local, files)) == {"files[0]"}


async def test_weights_must_be_safetensors_inside_too(local: Context) -> None:
    good = safetensors()
    for bad in (b"", b"\x80\x04pickle...", good[:-1], good + b"x", b"\xff" * 64):
        found = await refused(local, await folder(local, bad))
        assert set(found) == {"files[1]"}, bad


async def test_files_must_be_uploaded(local: Context) -> None:
    files = [*await folder(local), not_uploaded("vocab.txt")]
    with pytest.raises(FailedPrecondition) as error:
        await import_folder(local, files)
    assert error.value.reason == "BLOB_MISSING"


async def test_wrong_ids_and_unknown_models(context: Context) -> None:
    with pytest.raises(InvalidInput) as error:
        await models.import_folder(context, PROJECT, "Bad Id", "x" * 1001, [])
    assert [v.field for v in error.value.violations][:2] == ["model_id", "description"]
    with pytest.raises(NotFound):
        await models.get(context, PROJECT, "models/nope")
    with pytest.raises(InvalidInput):
        await models.get(context, PROJECT, "nope")


async def test_models_are_listed_newest_first_and_by_page(context: Context) -> None:
    files = await folder(context)
    for name in ("a", "c", "b"):
        await import_folder(context, files, name)
    first, token = await models.list_newest(context, PROJECT, size=2, token="")
    rest, end = await models.list_newest(context, PROJECT, size=2, token=token)
    assert [m.model_id for m in [*first, *rest]] == ["b", "c", "a"]
    assert end == ""
