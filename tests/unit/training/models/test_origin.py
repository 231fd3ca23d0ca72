from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ml_dtypes import bfloat16
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from transformers import AutoConfig, GenerationConfig

from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.data.prediction import ModelRole, Prediction
from tailrace.formats.data.trace import Trace
from tailrace.formats.spec.run_spec import (
    AdapterSpec,
    InferSpec,
    LoraSpec,
    ModelSpec,
    SaveDtype,
    TrainSpec,
)
from tests.unit.training.chat_folder import CHATML, chat_tokenizer, write_chat_folder
from training.errors import ModelConfigError
from training.generate.predict import Evaluated, predict
from training.loop.final_model import save_trained
from training.loop.fit import fit
from training.loop.start import prepare
from training.models.folder import end_tokens
from training.models.origin import with_end
from training.observer import Observer

SOURCE = ModelSpec(source="models/chat")
BARELY = TrainSpec(
    max_steps=1,
    batch_size=2,
    max_seq_length=128,
    learning_rate=1e-7,
    adapter=AdapterSpec(lora=LoraSpec(rank=2)),
    steps_per_dispatch=1,
)
SETS = {"e": [EvalItem(id="a", prompt="What is 1 + 2?", expected_answer="3")]}


def save(folder: Path, traces: list[Trace], spec: TrainSpec = BARELY) -> Path:
    """Save what a training without a step ends with."""
    start = prepare(SOURCE, spec, traces[:4], folder)
    save_trained(folder.parent / "final", start, start.weights.load(), spec.save_dtype)
    return folder.parent / "final"


def stored(folder: Path) -> dict[str, str]:
    with safe_open(str(folder / "model.safetensors"), framework="numpy") as file:
        return {name: file.get_slice(name).get_dtype() for name in file.keys()}  # noqa: SIM118


def retype(folder: Path, types: dict[str, Any], default: Any) -> None:
    weights = load_file(folder / "model.safetensors")
    cast = {name: value.astype(types.get(name, default)) for name, value in weights.items()}
    save_file(cast, folder / "model.safetensors", metadata={"format": "pt"})


def answers(folder: Path) -> list[Prediction]:
    spec = InferSpec(max_new_tokens=8, eval_sets=["eval_v1"])
    return predict(Evaluated.open(folder), SETS, spec, ModelRole.BASE, Observer())


@pytest.mark.parametrize(
    ("config", "generation"),
    [
        ({"eos_token_id": [2, 0], "bos_token_id": None, "pad_token_id": 0}, None),
        ({"eos_token_id": 0}, {"eos_token_id": [2, 0], "temperature": 0.6, "top_p": 0.9}),
        ({"eos_token_id": 2}, {"eos_token_id": 2, "max_new_tokens": 1, "pad_token_id": 3}),
    ],
)
def test_the_same_weights_have_the_same_end_tokens_settings_and_answers(
    tmp_path: Path, traces: list[Trace], config: dict[str, Any], generation: dict[str, Any] | None
) -> None:
    base = write_chat_folder(tmp_path / "base", config=config, generation=generation)
    final = save(base, traces)
    first, second = (AutoConfig.from_pretrained(folder) for folder in (base, final))
    for name in ("eos_token_id", "bos_token_id", "pad_token_id", "dtype"):
        assert getattr(first, name) == getattr(second, name)
    if generation is None:
        assert not (final / "generation_config.json").exists()
    else:
        settings = [folder / "generation_config.json" for folder in (base, final)]
        assert settings[0].read_bytes() == settings[1].read_bytes()
        first, second = (GenerationConfig.from_pretrained(folder) for folder in (base, final))
        assert first.to_dict() == second.to_dict()
    assert end_tokens(final) == end_tokens(base)


def test_hardly_any_training_changes_no_answer_and_no_sampling_value_is_applied(
    tmp_path: Path, traces: list[Trace]
) -> None:
    settings = {"eos_token_id": 2, "max_new_tokens": 1, "temperature": 9.0, "do_sample": True}
    base = write_chat_folder(tmp_path / "base", generation=settings | {"repetition_penalty": 9.0})
    start = prepare(SOURCE, BARELY, traces[:4], base)
    fit(start, BARELY, tmp_path / "checkpoints", tmp_path / "final", Observer())
    plain = write_chat_folder(tmp_path / "plain")
    assert answers(tmp_path / "final") == answers(base) == answers(plain)
    assert len(answers(base)[0].token_ids) > 1


@pytest.mark.parametrize("generation", [None, {"eos_token_id": 0, "top_k": 7}, {"top_k": 7}])
def test_a_taught_end_that_the_source_lacks_is_added_alone(
    tmp_path: Path, traces: list[Trace], generation: dict[str, Any] | None
) -> None:
    base = write_chat_folder(tmp_path / "base", config={"eos_token_id": 0}, generation=generation)
    final = save(base, traces)
    config = json.loads((final / "config.json").read_text())
    if generation is None:
        assert config["eos_token_id"] == [0, 2]
        return
    assert config["eos_token_id"] == 0
    saved = json.loads((final / "generation_config.json").read_text())
    assert saved == {**generation, "eos_token_id": [0, 2] if "eos_token_id" in generation else 2}


@pytest.mark.parametrize("wrong", ["{", "[]", '{"eos_token_id": "2"}'])
def test_generation_settings_that_cannot_be_kept_prevent_the_training(
    tmp_path: Path, traces: list[Trace], wrong: str
) -> None:
    base = write_chat_folder(tmp_path / "base")
    (base / "generation_config.json").write_text(wrong)
    with pytest.raises(ModelConfigError, match=r"generation_config.json"):
        prepare(SOURCE, BARELY, traces[:4], base)


def test_with_end_keeps_the_form() -> None:
    assert with_end(2, 2) == 2
    assert with_end([2, 0], 0) == [2, 0]
    assert with_end(None, 0) == 0
    with pytest.raises(ModelConfigError, match="'2' is neither"):
        with_end("2", 0)


@pytest.mark.parametrize(
    ("choice", "mixed", "others", "named"),
    [
        (SaveDtype.SOURCE, "F16", "BF16", "bfloat16"),
        (SaveDtype.FLOAT32, "F32", "F32", "float32"),
        (SaveDtype.BFLOAT16, "BF16", "BF16", "bfloat16"),
    ],
)
def test_weights_are_saved_in_the_type_that_is_asked_for(
    tmp_path: Path,
    traces: list[Trace],
    choice: SaveDtype,
    mixed: str,
    others: str,
    named: str,
) -> None:
    base = write_chat_folder(tmp_path / "base", config={"dtype": "bfloat16"})
    norm = "transformer.ln_f.weight"
    retype(base, {norm: np.float16}, bfloat16)
    final = save(base, traces, dataclasses.replace(BARELY, save_dtype=choice, steps_per_dispatch=1))
    types = stored(final)
    assert types.pop(norm) == mixed
    assert set(types.values()) == {others}
    assert json.loads((final / "config.json").read_text())["dtype"] == named


def test_untouched_weights_survive_their_type_bit_by_bit(
    tmp_path: Path, traces: list[Trace]
) -> None:
    base = write_chat_folder(tmp_path / "base", config={"torch_dtype": "bfloat16"})
    retype(base, {}, bfloat16)
    before = load_file(base / "model.safetensors")
    after = load_file(save(base, traces) / "model.safetensors")
    name = "transformer.wte.weight"
    assert before[name].tobytes() == after[name].tobytes()
    assert json.loads((tmp_path / "final" / "config.json").read_text())["torch_dtype"] == "bfloat16"


def test_a_preset_is_float32_unless_asked_otherwise(tmp_path: Path, traces: list[Trace]) -> None:
    for choice, expected in ((SaveDtype.SOURCE, "F32"), (SaveDtype.BFLOAT16, "BF16")):
        spec = dataclasses.replace(BARELY, save_dtype=choice, steps_per_dispatch=1)
        start = prepare(ModelSpec(preset="gpt2-nano"), spec, traces[:4])
        save_trained(tmp_path / "final", start, start.weights.load(), choice)
        assert set(stored(tmp_path / "final").values()) == {expected}
        assert start.origin.saved_bytes(start.model, choice) == start.model.parameters * (
            4 if expected == "F32" else 2
        )


def test_a_value_beyond_its_type_is_refused(tmp_path: Path, traces: list[Trace]) -> None:
    base = write_chat_folder(tmp_path / "base")
    retype(base, {"transformer.ln_f.weight": np.float16}, np.float32)
    start = prepare(SOURCE, BARELY, traces[:4], base)
    params = start.weights.load()
    params["transformer.ln_f.weight"] = params["transformer.ln_f.bias"] + 1e5
    with pytest.raises(ModelConfigError, match=r"transformer.ln_f.weight; set train.save_dtype"):
        save_trained(tmp_path / "final", start, params, SaveDtype.SOURCE)
    assert not (tmp_path / "final" / "model.safetensors").exists()
    save_trained(tmp_path / "final", start, params, SaveDtype.BFLOAT16)


def test_a_base_model_without_a_template_is_asked_as_it_was_taught(
    tmp_path: Path, traces: list[Trace]
) -> None:
    base = write_chat_folder(tmp_path / "base", tokenizer=chat_tokenizer(None, bos=True))
    final = save(base, traces)
    bare = chat_tokenizer(None, bos=True)
    for folder in (base, final):
        prompt = Evaluated.open(folder).chat.prompt("Hi")
        assert prompt == bare("User: Hi\nAssistant:\n")["input_ids"]


def test_a_stop_string_that_is_a_special_token_stops(tmp_path: Path) -> None:
    # A model whose likeliest token is always the same one: it ends no answer of its own accord.
    base = write_chat_folder(tmp_path / "base", tokenizer=chat_tokenizer(CHATML))
    evaluated = Evaluated.open(base)
    params = {name: value * 0 for name, value in evaluated.params.items()}
    start_of_turn = evaluated.chat.token_of("<|im_start|>")
    params["transformer.ln_f.bias"] = params["transformer.ln_f.bias"] + 1
    wte = "transformer.wte.weight"
    params[wte] = params[wte].at[start_of_turn].set(1)
    constant = Evaluated(evaluated.model, params, evaluated.tokenizer)
    cases = [
        (["<|im_start|>"], "stop", 1),
        (["<|im_start|><|im_start|>"], "stop", 2),
        (["<|im_start|>\n"], "length", 4),
        (["x"], "length", 4),
    ]
    for stop, reason, count in cases:
        spec = InferSpec(max_new_tokens=4, stop=stop, eval_sets=["eval_v1"])
        [made] = predict(constant, SETS, spec, ModelRole.BASE, Observer())
        assert (made.finish_reason, made.completion_tokens, made.text) == (reason, count, "")
