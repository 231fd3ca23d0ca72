"""Show the examples that a model would see in training: text, tokens, mask and totals.

It needs the tokenizer and the chat template of the model, but no weights and no server.

Example: python training/preview.py --dataset chats.jsonl --model models/smollm2
--train-on last_assistant --max-seq-length 512
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

if not __package__:
    # Run as a file: the package is found from the repository's root, not from this folder.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from tailrace.formats.catalog import CHAT_TEMPLATES, PRESETS
from tailrace.formats.data.dataset_file import parse_dataset
from tailrace.formats.data.jsonl import FormatError, file_lines
from tailrace.formats.data.record import SCHEMAS, Record
from tailrace.formats.data.split import EmptySplitError, split_records
from tailrace.formats.spec.methods import SftSpec, TrainOn
from tailrace.formats.spec.run_spec import ModelSpec, Overlong, TrainSpec
from training.commands import natural, positive, run_command
from training.config import read_chat_template, read_json, read_run_blocks
from training.data.datasets import find_dataset, load_dataset
from training.errors import ConfigError, DataError

if TYPE_CHECKING:
    from training.data.chat_format import ChatFormat
    from training.data.preview import Preview
    from training.objectives.prompt_preview import PromptPreview

FIRST_LINES = 10_000
"""Number of lines that are read without ``--all``."""

_GIVES_MODEL = "give --model, --preset, or --config with a model block"


@dataclass(frozen=True)
class _Settings:
    """Settings of the flags and the configuration."""

    model: ModelSpec
    """The model; its source may be a folder."""
    train: TrainSpec
    clock: date | None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    options = _parse(arguments)
    return run_command(lambda: preview(options), log=sys.stderr)


def preview(options: argparse.Namespace) -> None:
    """Print examples and totals.

    Raises:
        TrainingError: The input is unusable.
        OSError: A file cannot be read.
    """
    # As in the other commands: no notice that PyTorch is not installed.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    settings = _settings(options)
    records, is_part = _records(find_dataset(options.dataset), everything=options.all)
    chat = _chat_format(settings, records)
    examples = _view(records, chat, settings.train)
    if options.json:
        dataset = {"kind": _kind(records[0]), "read": len(records), "complete": not is_part}
        content = {"dataset": dataset, **examples.document(options.examples)}
        sys.stdout.write(json.dumps(content, ensure_ascii=False) + "\n")
    else:
        _print(examples, options, f"{len(records):,}" if is_part else "")
    if options.strict:
        sys.stdout.flush()
        examples.check()


def _view(records: Sequence[Record], chat: ChatFormat, train: TrainSpec) -> Preview | PromptPreview:
    """Return the view of examples, or of prompts for a method that samples answers."""
    # Imported here: wrong flags and files are refused without the wait for transformers.
    if train.sampling is not None:
        from training.objectives.prompt_preview import PromptPreview

        return PromptPreview(records, chat, train)
    from training.data.preview import Preview

    return Preview(records, chat, train)


def _print(examples: Preview | PromptPreview, options: argparse.Namespace, part: str) -> None:
    """Print examples and totals as text, and the number of lines if others were not read."""
    in_colour = options.color == "always" or (options.color == "auto" and sys.stdout.isatty())
    for line in examples.lines(options.examples, in_colour=in_colour):
        sys.stdout.write(f"{line}\n")
    if part:
        sys.stdout.write(f"only the first {part} lines were read: --all reads every line\n")


def _settings(options: argparse.Namespace) -> _Settings:
    blocks = read_run_blocks(options.config) if options.config is not None else None
    model, train = (blocks.model, blocks.train) if blocks else (None, None)
    if options.model is not None:
        model = dataclasses.replace(model or ModelSpec(), source=options.model, preset=None)
    elif options.preset is not None:
        model = dataclasses.replace(model or ModelSpec(), source=None, preset=options.preset)
    if model is None:
        raise ConfigError(f"there is no model: {_GIVES_MODEL}")
    if options.chat_template is not None:
        template = read_chat_template(options.chat_template)
        model = dataclasses.replace(model, chat_template=template)
    if options.chat_template_kwargs is not None:
        kwargs = read_json("--chat-template-kwargs", options.chat_template_kwargs)
        model = dataclasses.replace(model, chat_template_kwargs=kwargs)
    train = train or TrainSpec(max_steps=1, eval_fraction=0.0)
    changes = {name: getattr(options, name) for name in ("train_on", "overlong")}
    changes["allow_special_tokens"] = options.allow_special_tokens or None
    changes = {name: value for name, value in changes.items() if value is not None}
    length = options.max_seq_length or train.max_seq_length
    if train.sampling is not None:
        if changes:
            flag = next(iter(changes)).replace("_", "-")
            raise ConfigError(
                f"train.{train.method_key} learns sampled answers: leave out --{flag}"
            )
        train = dataclasses.replace(train, max_seq_length=length)
        return _Settings(model, train, options.template_date)
    sft = train.sft or SftSpec()
    if train.distill is not None:
        # A distillation encodes its examples as fine-tuning does.
        sft = SftSpec(train.distill.overlong, train.distill.train_on)
    sft = dataclasses.replace(sft, **changes)
    train = dataclasses.replace(train, sft=sft, distill=None, max_seq_length=length)
    return _Settings(model, train, options.template_date)


def _records(path: Path, *, everything: bool) -> tuple[Sequence[Record], bool]:
    """Return the records of a file, and True if it has more than were read."""
    if everything:
        return load_dataset(path), False
    lines = file_lines(path)
    try:
        records = parse_dataset(itertools.islice(lines, FIRST_LINES))
    except FormatError as error:
        raise DataError(f"{path}: {error}") from error
    return records, next(lines, None) is not None


def _kind(record: Record) -> str:
    return next(str(kind) for kind, schema in SCHEMAS.items() if isinstance(record, schema))


def _chat_format(settings: _Settings, records: Sequence[Record]) -> ChatFormat:
    from training.data.chat_format import ChatFormat
    from training.data.tokenizer import load_tokenizer, template_text

    model = settings.model
    template = template_text(model.chat_template)
    if model.preset is None:
        from training.models.source import resolve_tokenizer

        tokenizer = load_tokenizer(resolve_tokenizer(model.source or ""), template)
    else:
        from training.data.fresh_tokenizer import fresh_tokenizer
        from training.models.registry import PRESET_VOCABULARY

        context = PRESETS[model.preset]
        texts = _train_part(settings.train, records)
        vocabulary = PRESET_VOCABULARY[model.preset]
        tokenizer = fresh_tokenizer(texts, vocabulary, context, template)
    return ChatFormat(tokenizer, settings.clock, model.chat_template_kwargs)


def _train_part(train: TrainSpec, records: Sequence[Record]) -> Sequence[Record]:
    try:
        return split_records(records, train.eval_fraction, train.split_seed).train
    except EmptySplitError as error:
        raise DataError(f"train.{error}") from error


def _day(text: str) -> date:
    """Parse a date, for argparse."""
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"must be a date such as 2026-01-31: {error}") from error


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="preview.py", description=__doc__, allow_abbrev=False)
    parser.add_argument(
        "--dataset", required=True, help="a name under datasets/ (golden-v2), a file, or a folder"
    )
    model = parser.add_mutually_exclusive_group()
    model.add_argument("--model", metavar="DIR|HUB_ID", help="model folder, or hub id")
    model.add_argument(
        "--preset",
        choices=list(PRESETS),
        help="built-in architecture, whose tokenizer is trained from the dataset",
    )
    parser.add_argument(
        "--config",
        type=Path,
        help="YAML with model and train blocks, such as a run file; other flags override it",
    )
    parser.add_argument(
        "--chat-template",
        metavar="NAME|FILE|TEXT",
        help="template in place of the model's: the name of a shipped one "
        f"({', '.join(CHAT_TEMPLATES)}), a .jinja file, or text",
    )
    parser.add_argument(
        "--chat-template-kwargs", metavar="JSON", help="object of variables for the template"
    )
    parser.add_argument(
        "--train-on",
        type=TrainOn,
        choices=list(TrainOn),
        help="part to learn (default: all_assistant for conversations, else completion)",
    )
    parser.add_argument(
        "--max-seq-length", type=positive, help="longest example in tokens (default: 128)"
    )
    parser.add_argument(
        "--overlong",
        type=Overlong,
        choices=list(Overlong),
        help="policy for longer examples (default: refuse)",
    )
    parser.add_argument(
        "--allow-special-tokens",
        action="store_true",
        help="read special tokens in the text of messages as special tokens",
    )
    parser.add_argument(
        "--template-date",
        type=_day,
        metavar="YYYY-MM-DD",
        help="day that the chat template reads (default: today, UTC)",
    )
    parser.add_argument(
        "--strict", action="store_true", help="end with an error if a training refuses the lines"
    )
    parser.add_argument(
        "-n", "--examples", type=natural, default=3, help="examples to show (default: 3)"
    )
    parser.add_argument(
        "--all", action="store_true", help=f"read every line, not just the first {FIRST_LINES:,}"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument(
        "--color",
        choices=["auto", "always", "never"],
        default="auto",
        help="colour of trained text: auto (default) colours it on a terminal and puts it into "
        "brackets elsewhere",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
