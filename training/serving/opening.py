"""A model opened for serving or for a chat, by the flags of a command."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from training.commands import add_machine_flags, positive, start_machine
from training.config import read_chat_template, read_json

if TYPE_CHECKING:
    # They import JAX, which must wait for the device.
    from training.generate.predict import Evaluated

_log = logging.getLogger(__name__)


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags for the model, its chat template and the machine."""
    parser.add_argument("--model", required=True, help="model folder, or hub id")
    parser.add_argument("--name", help="name of the model for clients (default: --model)")
    parser.add_argument("--context", type=positive, metavar="N", help="longest sequence in tokens")
    parser.add_argument(
        "--chat-template",
        metavar="NAME|FILE|TEXT",
        help="template in place of the model's: a name, a .jinja file, or text",
    )
    parser.add_argument(
        "--chat-template-kwargs", metavar="JSON", help="object of variables for the template"
    )
    add_machine_flags(parser)


def open_model(options: argparse.Namespace) -> Evaluated:
    """Start JAX and load the model of the flags, with the settings of its training.

    Raises:
        TrainingError: The flags or the model are unusable.
        OSError: A file cannot be read.
    """
    template = options.chat_template and read_chat_template(options.chat_template)
    flag = options.chat_template_kwargs
    kwargs = read_json("--chat-template-kwargs", flag) if flag is not None else {}
    start_machine(options)
    from training.checkpoints.provenance import model_chat_facts
    from training.data.tokenizer import template_text
    from training.generate.predict import Evaluated
    from training.models.source import resolve_model

    folder = resolve_model(options.model)
    facts = model_chat_facts(folder)
    _log.info("loading %s", served_name(options))
    return Evaluated.open(
        folder, facts.clock, template=template_text(template), kwargs={**facts.kwargs, **kwargs}
    )


def served_name(options: argparse.Namespace) -> str:
    """Return the name of the model for clients: a folder's last part, unless one is given."""
    if options.name:
        return str(options.name)
    folder = Path(options.model)
    return folder.resolve().name if folder.is_dir() else str(options.model)
