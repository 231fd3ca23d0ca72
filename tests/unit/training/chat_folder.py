"""A tiny chat model: a folder with its own chat template and special tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel
from tokenizers.processors import TemplateProcessing
from tokenizers.trainers import BpeTrainer
from transformers import PreTrainedTokenizerFast

from tests.unit.training.conftest import TINY
from training.loop.final_model import save_folder
from training.models.registry import model_from_config

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""The template of many chat models: a turn ends with a token that is not the tokenizer's own."""

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<s>")
"""The special tokens, in the order of their ids."""


def chat_tokenizer(template: str | None = CHATML, *, bos: bool = False, **further: Any) -> Any:
    """Return a byte-level tokenizer; with ``bos`` it begins every text with ``<s>``."""
    backend = Tokenizer(BPE())
    backend.pre_tokenizer = ByteLevel(add_prefix_space=False)
    backend.decoder = ByteLevelDecoder()
    trainer = BpeTrainer(
        vocab_size=300,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator(["What is 1 + 2?\nAnswer: 3\n", "assistant", "user"] * 3, trainer)
    if bos:
        backend.post_processor = TemplateProcessing(
            single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 3)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<|endoftext|>",
        pad_token="<|endoftext|>",
        chat_template=template,
        clean_up_tokenization_spaces=False,
        **({"bos_token": "<s>"} if bos else {}),
        **further,
    )


def write_chat_folder(
    folder: Path,
    *,
    tokenizer: Any = None,
    config: dict[str, Any] | None = None,
    generation: dict[str, Any] | None = None,
) -> Path:
    """Write a chat model with random weights; ``config`` and ``generation`` change its files."""
    tokenizer = chat_tokenizer() if tokenizer is None else tokenizer
    model = model_from_config({**TINY, "n_positions": 128, "vocab_size": len(tokenizer)})
    save_folder(folder, model, model.init(0), tokenizer)
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **(config or {})}))
    if generation is not None:
        (folder / "generation_config.json").write_text(json.dumps(generation, indent=1) + "\r\n")
    return folder
