"""Write the conversations with a calculator: ``python -m benchmarks.tool_calling --output DIR``.

``calculator.jsonl`` is a dataset of the kind `messages`; ``calculator-held-out.jsonl`` and
``calculator-unseen-range.jsonl`` are eval sets. The same flags give the same bytes.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.tool_calling.calculator import calculator_data
from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.data.record import dump_line
from tailrace.formats.schema import to_mapping


def main() -> None:
    """Write the three files."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tool_calling", description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="folder for the files")
    parser.add_argument("--conversations", type=int, default=500, help="lines to train on")
    parser.add_argument("--items", type=int, default=100, help="items of each eval set")
    parser.add_argument("--seed", type=int, default=16, help="seed of the generator")
    options = parser.parse_args()
    sets = calculator_data(options.seed, options.conversations, options.items)
    options.output.mkdir(parents=True, exist_ok=True)
    contents = {
        "calculator.jsonl": map(dump_line, sets.train),
        "calculator-held-out.jsonl": map(_item_line, sets.held_out),
        "calculator-unseen-range.jsonl": map(_item_line, sets.unseen_range),
    }
    for name, lines in contents.items():
        (options.output / name).write_text("".join(lines), encoding="utf-8")
        print(options.output / name)


def _item_line(eval_item: EvalItem) -> str:
    """Return an item as a line that keeps the order of keys in tools, as the dataset does."""
    content = {
        key: value for key, value in to_mapping(eval_item).items() if value not in ("", [], False)
    }
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")) + "\n"


if __name__ == "__main__":
    main()
