"""The model folder that a training ends with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from transformers import PreTrainedTokenizerBase

from tailrace.formats.spec.run_spec import SaveDtype
from training.data.chat_format import ChatFormat
from training.machine.file_errors import as_os_errors
from training.models.family import Model, Params
from training.models.folder import GENERATION_CONFIG, save_model
from training.models.origin import Origin


class Beginning(Protocol):
    """Facts of the starting model that the final one keeps."""

    @property
    def model(self) -> Model:
        """Network."""
        ...

    @property
    def chat(self) -> ChatFormat:
        """Tokenizer and chat template."""
        ...

    @property
    def origin(self) -> Origin:
        """Facts of the folder."""
        ...


def save_folder(
    folder: Path, model: Model, params: Params, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Write a model folder in float32, with its tokenizer and chat template."""
    save_model(folder, model, params, int(tokenizer.eos_token_id))
    with as_os_errors(folder):
        tokenizer.save_pretrained(folder)


def save_trained(
    folder: Path, start: Beginning, params: Mapping[str, Any], save_dtype: SaveDtype
) -> None:
    """Write the model folder of a training from ``start``.

    The folder keeps the special tokens, types and generation settings of the model that the
    training started from; the token that ends turns is added to them where it is missing. Each of
    ``params`` is read once, when it is written.

    Raises:
        OSError: The folder cannot be written.
        ModelConfigError: A weight is too large for its type.
    """
    origin, tokenizer, end = start.origin, start.chat.tokenizer, start.chat.end
    facts = origin.config_facts(save_dtype, end)
    dtypes = origin.saved_types(start.model.shapes, save_dtype)
    save_model(folder, start.model, params, end, facts=facts, dtypes=dtypes)
    with as_os_errors(folder):
        tokenizer.save_pretrained(folder)
    settings = origin.generation_text(end)
    if settings is not None:
        (folder / GENERATION_CONFIG).write_bytes(settings.encode())
