from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from tailrace.formats.canonical import sha256_file
from tailrace.formats.data.golden import golden_v2_manifest
from tailrace.formats.data.message import Message, Role
from tailrace.formats.data.record import ChatRecord, CompletionRecord
from tailrace.formats.data.trace import Trace
from tailrace.formats.spec.run_spec import (
    AdapterSpec,
    LoraSpec,
    ModelSpec,
    Overlong,
    SaveDtype,
    SftSpec,
    TrainSpec,
)
from tests.unit.training.chat_folder import chat_tokenizer, write_chat_folder
from tests.unit.training.conftest import TINY
from training.chat_templates import shipped_template
from training.checkpoints.checkpoint import list_checkpoints
from training.data.batches import BatchStream, Collator
from training.data.chat_format import ChatFormat
from training.data.tokenizer import load_tokenizer, train_tokenizer
from training.errors import ConfigError, DataError, ModelConfigError
from training.loop.final_model import save_folder, save_trained
from training.loop.fit import fit, warn_if_worse
from training.loop.progress import Progress
from training.loop.start import checkpoint_template_date, prepare
from training.loop.steps import compile_steps
from training.models.family import Model, Params
from training.models.folder import load_model
from training.models.registry import model_from_config

NANO = ModelSpec(preset="gpt2-nano")


def spec(**changes: Any) -> TrainSpec:
    shape = {"max_steps": 2, "batch_size": 4, "max_seq_length": 64}
    return TrainSpec(**shape | {"steps_per_dispatch": 2} | changes)


def test_a_preset_starts_from_the_seed_and_the_train_part_alone(traces: list[Trace]) -> None:
    marker = "zqzqzqzq"
    held = prepare(NANO, spec(eval_fraction=0.2), traces).split.held_out
    changed = [
        Trace(prompt=t.prompt, answer=marker, steps=t.steps, id=t.id) if t in held else t
        for t in traces
    ]
    first, second = (prepare(NANO, spec(eval_fraction=0.2), each) for each in (traces, changed))
    assert first.tokenizer.get_vocab() == second.tokenizer.get_vocab()
    assert len(first.encoded.examples) == 82
    values, equal = first.weights.load(), second.weights.load()
    for name, value in values.items():
        np.testing.assert_array_equal(equal[name], value)
    other = prepare(NANO, spec(seed=1), traces)
    name = "transformer.h.0.mlp.c_fc.weight"
    assert not np.array_equal(other.weights.load()[name], values[name])


def test_identity_names_the_dataset_by_its_file_digest(traces: list[Trace]) -> None:
    identity = prepare(NANO, spec(), traces).identity
    assert identity["dataset"] == golden_v2_manifest()["sha256"]
    kept = prepare(NANO, spec(save_every_steps=7, log_every_steps=7), traces).identity
    assert kept == identity
    assert prepare(NANO, spec(seed=7), traces).identity != identity


def test_an_adapter_belongs_to_the_weights_beside_it(
    tmp_path: Path, model: Model, params: Params, tokenizer: Any, traces: list[Trace]
) -> None:
    changed = {**params, "transformer.ln_f.bias": params["transformer.ln_f.bias"] + 1}
    identities = []
    for number, each in enumerate((params, params, changed)):
        save_folder(tmp_path / str(number), model, each, tokenizer)
        train = spec(adapter=AdapterSpec(lora=LoraSpec()))
        source = ModelSpec(source="models/x")
        identities.append(prepare(source, train, traces, tmp_path / str(number)).identity)
    assert identities[0] == identities[1]
    assert identities[0] != identities[2]


def test_a_folder_is_fine_tuned_with_its_own_tokenizer(
    tmp_path: Path, model: Model, params: Params, tokenizer: Any, traces: list[Trace], recorder: Any
) -> None:
    save_folder(tmp_path / "base", model, params, tokenizer)
    start = prepare(ModelSpec(source="models/x"), spec(), traces, tmp_path / "base")
    assert start.tokenizer.get_vocab() == tokenizer.get_vocab()
    for name, value in start.weights.arrays():
        np.testing.assert_array_equal(params[name], value)
    seen = recorder()
    result = fit(start, spec(), tmp_path / "checkpoints", tmp_path / "final", seen)
    assert (result.steps, result.examples, result.held_out) == (2, 100, 0)
    assert result.parameters == model.parameters
    assert result.model_digest == sha256_file(tmp_path / "final" / "model.safetensors")
    assert result.first_loss == seen.points[0].loss
    _, trained = load_model(tmp_path / "final")
    assert not np.array_equal(trained["transformer.ln_f.bias"], params["transformer.ln_f.bias"])
    load_tokenizer(tmp_path / "final")


def test_an_adapter_lies_beside_the_model_it_is_merged_into(
    tmp_path: Path, model: Model, params: Params, tokenizer: Any, traces: list[Trace], recorder: Any
) -> None:
    save_folder(tmp_path / "base", model, params, tokenizer)
    train = spec(
        adapter=AdapterSpec(lora=LoraSpec(rank=2, target_modules=["c_attn"])),
        eval_fraction=0.2,
        eval_every_steps=2,
    )
    start = prepare(ModelSpec(source="models/x"), train, traces, tmp_path / "base")
    assert len(start.held_out.examples) == len(start.split.held_out) == 18
    seen = recorder()
    result = fit(start, train, tmp_path / "checkpoints", tmp_path / "final", seen)
    assert result.parameters == 2 * (16 + 48)
    assert (result.best_step, result.stopped_early) == (2, False)
    assert result.best_eval_loss == seen.evaluations[-1].eval_loss
    _, merged = load_model(tmp_path / "final")
    stored = load_file(tmp_path / "final" / "adapter" / "adapter_model.safetensors")
    config = json.loads((tmp_path / "final" / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "models/x"
    for name, value in params.items():
        module = f"base_model.model.{name.removesuffix('.weight')}"
        expected = np.asarray(value)
        if f"{module}.lora_A.weight" in stored:
            assert name.endswith("c_attn.weight")
            down, up = (stored[f"{module}.lora_{which}.weight"] for which in "AB")
            assert np.abs(up).max() > 0
            expected = expected + config["lora_alpha"] / config["r"] * (up @ down).T
        np.testing.assert_allclose(merged[name], expected, rtol=0, atol=1e-7)


def test_a_context_between_two_buckets(traces: list[Trace], tmp_path: Path, recorder: Any) -> None:
    # Rows of 40 tokens are padded to 48, beyond the last position.
    tokenizer = train_tokenizer([t.prompt for t in traces], 320, 40)
    network = model_from_config({**TINY, "n_positions": 40, "vocab_size": len(tokenizer)})
    save_folder(tmp_path / "base", network, network.init(0), tokenizer)
    sft = SftSpec(overlong=Overlong.TRUNCATE)
    train = spec(sft=sft, max_seq_length=40, eval_fraction=0.2, eval_every_steps=2)
    start = prepare(ModelSpec(source="models/x"), train, traces, tmp_path / "base")
    assert max(example.inputs for example in start.encoded.examples) > 32
    seen = recorder()
    result = fit(start, train, tmp_path / "checkpoints", tmp_path / "final", seen)
    assert np.isfinite(result.last_loss)
    assert np.isfinite(seen.evaluations[-1].eval_loss)
    # What was cut is counted, in both parts.
    assert start.encoded.overlong > 0 < start.held_out.overlong
    assert result.overlong == start.encoded.overlong + start.held_out.overlong


def test_a_tokenizer_of_another_model_is_refused(
    tmp_path: Path, traces: list[Trace], tokenizer: Any
) -> None:
    network = model_from_config({**TINY, "vocab_size": 300})
    save_folder(tmp_path, network, network.init(0), tokenizer)
    complaint = r"the tokenizer has token 3\d\d, but the model embeds 300 tokens only"
    with pytest.raises(ModelConfigError, match=complaint):
        prepare(ModelSpec(source="models/x"), spec(), traces, tmp_path)


def test_rows_are_laid_out_as_the_spec_says(
    tmp_path: Path,
    model: Model,
    params: Params,
    tokenizer: Any,
    traces: list[Trace],
    recorder: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: dict[str, Any] = {}

    def spied(*arguments: Any, **options: Any) -> Any:
        asked["micro"], asked["remat"] = arguments[4], options["remat"]
        return compile_steps(*arguments, **options)

    class SpiedStream(BatchStream):
        def __init__(self, *arguments: Any) -> None:
            asked["collator"], asked["together"] = arguments[1], arguments[3]
            super().__init__(*arguments)

    monkeypatch.setattr("training.loop.trainer.compile_steps", spied)
    monkeypatch.setattr("training.loop.fit.BatchStream", SpiedStream)
    train = spec(micro_batch_size=2, packing=True, group_by_length=True, remat=True)
    save_folder(tmp_path / "base", model, params, tokenizer)
    start = prepare(ModelSpec(source="models/x"), train, traces, tmp_path / "base")
    fit(start, train, tmp_path / "c", tmp_path / "f", recorder())
    assert asked == {
        "micro": 2,
        "remat": True,
        "collator": Collator(4, row_length=64),
        "together": 2,
    }


@pytest.mark.parametrize(
    ("train", "error", "complaint"),
    [
        ({"eval_fraction": 0.001}, DataError, "train.eval_fraction 0.001 of 67 .* holds out none"),
        (
            {"max_seq_length": 4096},
            ConfigError,
            "max_seq_length 4096 is more than the model's context of 256",
        ),
    ],
)
def test_refused(
    traces: list[Trace], train: dict[str, Any], error: type[Exception], complaint: str
) -> None:
    with pytest.raises(error, match=complaint):
        prepare(NANO, spec(**train), traces)


@pytest.mark.parametrize(("last", "warns"), [(9.0, True), (1.0, False)])
def test_a_loss_that_rose_is_said(
    last: float, warns: bool, caplog: pytest.LogCaptureFixture
) -> None:
    progress = Progress(first_loss=5.0, epoch=[last])
    with caplog.at_level("WARNING"):
        warn_if_worse(progress)
    assert ("9.0000" in caplog.text) is warns


def test_a_clock_in_the_template_stands_still_for_a_training(
    tmp_path: Path, traces: list[Trace], recorder: Any
) -> None:
    clock = "{{ strftime_now('%d %b %Y') + messages[0]['content'] }}"
    base = write_chat_folder(tmp_path / "base", tokenizer=chat_tokenizer(clock))
    train = spec(save_every_steps=2, adapter=AdapterSpec(lora=LoraSpec(rank=2)))
    source, began = ModelSpec(source="models/x"), date(2026, 3, 4)
    start = prepare(source, train, traces[:8], base, began)
    result = fit(start, train, tmp_path / "checkpoints", tmp_path / "final", recorder())
    assert result.template_date == "2026-03-04"
    [checkpoint] = list_checkpoints(tmp_path / "checkpoints")
    assert checkpoint_template_date(checkpoint) == began
    again = prepare(source, train, traces[:8], base, checkpoint_template_date(checkpoint))
    assert again.identity == start.identity
    assert prepare(source, train, traces[:8], base).identity != start.identity
    plain = prepare(NANO, train, traces[:8])
    assert "template_date" not in plain.identity
    assert plain.chat.template_date is None


OVERRIDE = (
    "{% for m in messages %}<{{ m.role }}{{ mark }}>{{ m.content }}<|im_end|>{% endfor %}"
    "{% if add_generation_prompt %}<assistant{{ mark }}>{% endif %}"
)


@pytest.mark.parametrize("preset", [False, True])
def test_a_template_and_its_variables_in_the_spec_replace_the_models(
    tmp_path: Path, *, preset: bool
) -> None:
    base = write_chat_folder(tmp_path / "base")
    source = {"preset": "gpt2-nano"} if preset else {"source": "models/x"}
    model = ModelSpec(**source, chat_template=OVERRIDE, chat_template_kwargs={"mark": "!"})
    records = [CompletionRecord(f"question {i}", "answer", id=str(i)) for i in range(4)]
    start = prepare(model, spec(), records, base)
    text = start.chat.written(start.encoded.examples[0].tokens.tolist())
    assert text.startswith("<user!>question 0<|im_end|><assistant!>answer<|im_end|>")
    save_trained(tmp_path / "final", start, start.weights.load(), SaveDtype.FLOAT32)
    saved = load_tokenizer(tmp_path / "final")
    assert saved.chat_template == OVERRIDE
    prompt = ChatFormat(saved, kwargs=model.chat_template_kwargs).prompt("question 0")
    assert prompt == start.encoded.examples[0].tokens.tolist()[: len(prompt)]


def test_a_shipped_template_is_given_by_its_name(tmp_path: Path) -> None:
    base = write_chat_folder(tmp_path / "base")
    model = ModelSpec(source="models/x", chat_template="chatml")
    start = prepare(model, spec(), [CompletionRecord("question", "answer", id="a")] * 2, base)
    assert start.tokenizer.chat_template == shipped_template("chatml")


def test_an_empty_mask_fails_before_the_first_step_in_one_line() -> None:
    silent = [Message(Role.USER, "q"), Message(Role.ASSISTANT, "a", weight=0)]
    records = [ChatRecord(silent, id=str(i)) for i in range(4)]
    with pytest.raises(DataError, match="none of 4 examples has a token to learn") as caught:
        prepare(NANO, spec(), records)
    assert len(str(caught.value).splitlines()) == 1


def test_the_totals_are_logged_before_the_first_step(
    traces: list[Trace], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        prepare(NANO, spec(eval_fraction=0.2, eval_every_steps=1), traces)
    (train, held_out) = [m for m in caplog.messages if "without a trained token" in m]
    assert train.startswith("82 examples: ")
    assert "of them trained (assistant 100.0%)" in train
    assert held_out.startswith("18 held-out examples: ")
