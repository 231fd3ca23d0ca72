from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.domain.caller import Caller
from services.domain.content.model import Model
from services.domain.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidInput,
    NotFound,
)
from services.usecases.content import models
from services.usecases.context import Context
from tailrace.formats.listing import FileEntry
from tailrace.formats.model.tensors import expected_shapes
from tests.model_folder import CONFIG, safetensors
from tests.model_folder import files as tiny_files
from tests.unit.services.usecases.stored_content import make_context, not_uploaded, put

CALLER = Caller()
PROJECT = CALLER.project


@pytest.fixture
async def context(database_url: str, tmp_path: Path) -> AsyncIterator[Context]:
    context = make_context(database_url, tmp_path / "data")
    yield context
    await context.database.close()


@pytest.fixture
async def local(sqlite_url: str, tmp_path: Path) -> AsyncIterator[Context]:
    """For what does not depend on the database."""
    context = make_context(sqlite_url, tmp_path / "data")
    yield context
    await context.database.close()


async def folder(context: Context, **changes: bytes) -> list[FileEntry]:
    """Return a model folder's entries; ``config``, ``model`` and ``tokenizer`` replace contents."""
    content = {**tiny_files(), "chat_template.jinja": b"{{ messages }}"}
    for stem, replaced in changes.items():
        content[next(name for name in content if name.startswith(stem))] = replaced
    return [await put(context, name, data) for name, data in content.items()]


async def import_folder(context: Context, files: list[FileEntry], model_id: str = "mine") -> Model:
    return await models.import_folder(context, CALLER, model_id, "Mine.", files)


async def refused(context: Context, files: list[FileEntry]) -> dict[str, str]:
    with pytest.raises(InvalidInput) as error:
        await import_folder(context, files)
    return {v.field: v.description for v in error.value.violations}


async def test_an_imported_model_is_found_again(context: Context) -> None:
    model = await import_folder(context, await folder(context))
    assert (model.name, model.architecture) == ("models/mine", "GPT2LMHeadModel")
    assert len(model.artifact.listing.files) == 4
    assert await models.get(context, CALLER, "models/mine") == model
    async with context.database.read() as conn:
        assert await models.resolve(conn, PROJECT, "models/mine") == model


async def test_importing_again_returns_the_model_there_is(context: Context) -> None:
    files = await folder(context)
    assert await import_folder(context, files) == await import_folder(context, files[::-1])


async def test_an_id_keeps_its_files(context: Context) -> None:
    model = await import_folder(context, await folder(context))
    with pytest.raises(AlreadyExists):
        await import_folder(context, await folder(context, model=safetensors(fill=b"\1")))
    assert await models.get(context, CALLER, "models/mine") == model


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
    problems = await refused(local, [not_uploaded(name) for name in names])
    assert "run code" in problems["files[0].path"]
    assert "run code" in problems["files[1].path"]
    assert "is code" in problems["files[2].path"]
    assert set(problems) >= {f"files[{i}].path" for i in range(len(names))} | {"files"}


async def test_a_folder_needs_a_config_weights_and_a_tokenizer(local: Context) -> None:
    files = await folder(local)
    assert "config.json" in (await refused(local, files[1:]))["files"]
    assert "safetensors" in (await refused(local, [files[0], files[2]]))["files"]
    assert "no tokenizer" in (await refused(local, files[:2]))["files"]
    nested = FileEntry("sub/config.json", files[0].sha256, files[0].size_bytes)
    assert "config.json" in (await refused(local, [nested, *files[1:]]))["files"]


async def test_a_config_without_class_has_its_familys(local: Context) -> None:
    config = json.dumps({**CONFIG, "architectures": None}).encode()
    model = await import_folder(local, await folder(local, config=config))
    assert model.architecture == "GPT2LMHeadModel"


@pytest.mark.parametrize("config", [b"", b"[]", b"{}", b'{"architectures": []}', b"["])
async def test_a_config_must_name_its_family(local: Context, config: bytes) -> None:
    assert set(await refused(local, await folder(local, config=config))) == {"files[0]"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"model_type": "mamba"}, "'mamba' is not supported; known: gpt2, llama"),
        ({"n_embd": None, "n_layer": "x"}, "n_embd is missing"),
    ],
)
async def test_a_config_must_be_one_that_can_run(
    local: Context, change: dict[str, object], says: str
) -> None:
    config = json.dumps({**CONFIG, **change}).encode()
    assert says in (await refused(local, await folder(local, config=config)))["files[0]"]


async def test_the_weights_must_be_those_of_the_config(local: Context) -> None:
    config = json.dumps({**CONFIG, "vocab_size": 4}).encode()
    problems = await refused(local, await folder(local, config=config))
    assert "transformer.wte.weight is [3, 2], not [4, 2]" in problems["files"]


async def test_weights_in_several_files(local: Context) -> None:
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    shapes = expected_shapes(CONFIG)
    parts = [dict(list(shapes.items())[:3]), dict(list(shapes.items())[3:])]
    places = {name: file for file, part in zip(names, parts, strict=True) for name in part}
    contents = tiny_files()
    files = [await put(local, name, contents[name]) for name in ("config.json", "tokenizer.json")]
    index = json.dumps({"weight_map": places}).encode()
    files.append(await put(local, "model.safetensors.index.json", index))
    files += [await put(local, n, safetensors(p)) for n, p in zip(names, parts, strict=True)]
    assert (await import_folder(local, files)).architecture == "GPT2LMHeadModel"
    assert names[1] in (await refused(local, files[:-1]))["files[2]"]
    files[2] = await put(local, "model.safetensors.index.json", b"{}")
    assert "weight_map" in (await refused(local, files))["files[2]"]


async def test_weights_must_be_safetensors_inside_too(local: Context) -> None:
    good = safetensors()
    for bad in (b"", b"\x80\x04pickle...", good[:-1], good + b"x", b"\xff" * 64):
        problems = await refused(local, await folder(local, model=bad))
        assert set(problems) == {"files[1]"}, bad


async def test_files_must_be_uploaded(local: Context) -> None:
    files = [*await folder(local), not_uploaded("vocab.txt")]
    with pytest.raises(FailedPrecondition) as error:
        await import_folder(local, files)
    assert error.value.reason == "BLOB_MISSING"


async def test_wrong_ids_and_unknown_models(context: Context) -> None:
    with pytest.raises(InvalidInput) as error:
        await models.import_folder(context, CALLER, "Bad Id", "x" * 1001, [])
    assert [v.field for v in error.value.violations][:2] == ["model_id", "description"]
    with pytest.raises(NotFound):
        await models.get(context, CALLER, "models/nope")
    with pytest.raises(InvalidInput):
        await models.get(context, CALLER, "nope")


async def test_models_are_listed_newest_first_and_by_page(context: Context) -> None:
    files = await folder(context)
    for name in ("a", "c", "b"):
        await import_folder(context, files, name)
    first, token = await models.list_newest(context, CALLER, size=2, token="")
    rest, end = await models.list_newest(context, CALLER, size=2, token=token)
    assert [m.model_id for m in [*first, *rest]] == ["b", "c", "a"]
    assert end == ""
