"""The teacher of a distillation: a second model, whose weights are constants of the training.

Its weights are among the frozen values of the compiled steps, under names with a prefix.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from jax.sharding import Mesh
from jax.typing import DTypeLike
from transformers import PreTrainedTokenizerBase

from tailrace.formats.canonical import sha256_json
from training.checkpoints.certificate import digest_sorted
from training.data.tokenizer import load_tokenizer
from training.errors import ConfigError
from training.machine.sharding import Layout
from training.models.family import Decoder, Model, Params
from training.models.folder import open_model
from training.models.stored_weights import Weights

V = TypeVar("V")

PREFIX = "teacher/"
"""Prefix of the names of a teacher's weights."""


@dataclass(frozen=True)
class Teacher:
    """A model whose distributions another one learns."""

    model: Model
    weights: Weights

    @property
    def digest(self) -> str:
        """Digest of the configuration and of all values."""
        config = self.model.family.dump_config(self.model.config)
        return sha256_json([config, digest_sorted(self.weights.arrays())])

    def layout(self, mesh: Mesh) -> Layout:
        """Return the layout of the weights over a training's devices."""
        return Layout.of(self.model.family.model_type, mesh)

    def load(self, mesh: Mesh, dtype: DTypeLike) -> Params:
        """Return the weights in ``dtype``, by prefixed name."""
        weights = self.weights.load(self.layout(mesh), dtype)
        return {PREFIX + name: value for name, value in weights.items()}

    def decoder(self, frozen: Params) -> Decoder:
        """Return the decoder of the weights that are among frozen values."""
        weights = {
            name.removeprefix(PREFIX): value
            for name, value in frozen.items()
            if name.startswith(PREFIX)
        }
        return self.model.bind(weights)


def without_teacher(frozen: dict[str, V]) -> dict[str, V]:
    """Return the frozen values of the model that is trained."""
    return {name: value for name, value in frozen.items() if not name.startswith(PREFIX)}


def open_teacher(
    folder: Path, name: str, tokenizer: PreTrainedTokenizerBase, max_seq_length: int
) -> Teacher:
    """Open a teacher's folder.

    Args:
        folder: The model folder.
        name: Name of the teacher in the spec, for messages.
        tokenizer: Tokenizer of the model that learns.
        max_seq_length: Longest example in tokens.

    Raises:
        ConfigError: The tokenizers differ, or the teacher's context is too short.
        ModelNotFoundError: The folder has no model.
        ModelConfigError: The model is unusable.
    """
    model, weights = open_model(folder)
    difference = first_difference(tokenizer, load_tokenizer(folder))
    if difference:
        raise ConfigError(
            f"train.distill.teacher {name} must have the tokenizer of the model: {difference}; "
            "choose a teacher of the same family, or train on its texts with train.sft"
        )
    if max_seq_length > model.context:
        raise ConfigError(
            f"train.max_seq_length {max_seq_length} is more than the context of {model.context} "
            f"tokens of train.distill.teacher {name}"
        )
    return Teacher(model, weights)


def first_difference(own: PreTrainedTokenizerBase, other: PreTrainedTokenizerBase) -> str:
    """Return a description of the first token that a teacher's tokenizer has otherwise.

    Empty for equal vocabularies with equal added tokens.
    """
    for what, mine, theirs in (
        ("token", _by_id(own.get_vocab()), _by_id(other.get_vocab())),
        ("added token", _added(own), _added(other)),
    ):
        if mine == theirs:
            continue
        token_id = next(i for i in sorted({*mine, *theirs}) if mine.get(i) != theirs.get(i))
        texts = [tokens.get(token_id, "missing") for tokens in (mine, theirs)]
        return f"{what} {token_id} is {texts[0]} in the model and {texts[1]} in the teacher"
    return ""


def _by_id(vocabulary: dict[str, int]) -> dict[int, str]:
    return {token_id: repr(text) for text, token_id in vocabulary.items()}


def _added(tokenizer: PreTrainedTokenizerBase) -> dict[int, str]:
    return {token_id: repr(token) for token_id, token in tokenizer.added_tokens_decoder.items()}
