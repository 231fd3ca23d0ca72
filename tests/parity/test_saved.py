"""A trained model as transformers opens it: the source's types, end tokens and settings."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tailrace.formats.data.golden import golden_v2
from tailrace.formats.spec.run_spec import ModelSpec, SaveDtype, TrainSpec
from tests.unit.training.chat_folder import chat_tokenizer, write_chat_folder
from training.loop.final_model import save_trained
from training.loop.start import prepare

TRAIN = TrainSpec(max_steps=1, max_seq_length=128)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_saved_model_opens_as_its_source_does(tmp_path: Path, dtype: torch.dtype) -> None:
    settings = {"eos_token_id": [2, 0], "pad_token_id": 0, "temperature": 0.6, "do_sample": True}
    base = write_chat_folder(tmp_path / "base", tokenizer=chat_tokenizer(bos=True))
    AutoModelForCausalLM.from_pretrained(base, dtype=dtype).save_pretrained(base)
    (base / "generation_config.json").unlink(missing_ok=True)
    write_settings = AutoModelForCausalLM.from_pretrained(base).generation_config
    write_settings.update(**settings)
    write_settings.save_pretrained(base)
    start = prepare(ModelSpec(source="models/x"), TRAIN, golden_v2()[:4], base)
    save_trained(tmp_path / "final", start, start.weights.load(), SaveDtype.SOURCE)
    first, second = (
        AutoModelForCausalLM.from_pretrained(folder) for folder in (base, tmp_path / "final")
    )
    assert second.dtype == first.dtype == dtype
    assert second.generation_config.to_dict() == first.generation_config.to_dict()
    for name, value in first.state_dict().items():
        assert torch.equal(second.state_dict()[name], value)
    tokenizers = [AutoTokenizer.from_pretrained(folder) for folder in (base, tmp_path / "final")]
    asked = [{"role": "user", "content": "What is 1 + 2?"}]
    prompts = [
        tokenizer.apply_chat_template(asked, add_generation_prompt=True, return_dict=False)
        for tokenizer in tokenizers
    ]
    assert prompts[0] == prompts[1] == start.chat.prompt("What is 1 + 2?")
    assert tokenizers[0].eos_token_id == tokenizers[1].eos_token_id
