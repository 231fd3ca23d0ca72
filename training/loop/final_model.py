"""The model folder that a training ends with."""

from __future__ import annotations

from pathlib import Path

from transformers import PreTrainedTokenizerBase

from tailrace.formats.spec.run_spec import SaveDtype
from training.loop.start import Start
from training.machine.file_errors import as_os_errors
from training.models.family import Model, Params
from training.models.folder import GENERATION_CONFIG, save_model


def save_folder(
    folder: Path, model: Model, params: Params, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Write a model folder in float32, with its tokenizer and chat template."""
    save_model(folder, model, params, int(tokenizer.eos_token_id))
    with as_os_errors(folder):
        tokenizer.save_pretrained(folder)


def save_trained(folder: Path, start: Start, params: Params, save_dtype: SaveDtype) -> None:
    """Write the model folder of a training from ``start``.

    The folder keeps the special tokens, types and generation settings of the model that the
    training started from; the token that ends turns is added to them where it is missing.

    Raises:
        OSError: The folder cannot be written.
        ModelConfigError: A weight is too large for its type.
    """
    origin, tokenizer, end = start.origin, start.chat.tokenizer, start.chat.end
    values = origin.cast(params, save_dtype)
    facts = origin.config_facts(save_dtype, end)
    save_model(folder, start.model, values, end, facts=facts)
    with as_os_errors(folder):
        tokenizer.save_pretrained(folder)
    settings = origin.generation_text(end)
    if settings is not None:
        (folder / GENERATION_CONFIG).write_bytes(settings.encode())
