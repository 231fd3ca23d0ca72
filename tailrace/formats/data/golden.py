"""The dataset golden-v2, 100 deterministic synthetic traces, and an eval set of other sums."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from pathlib import Path

from tailrace.formats.canonical import canonical_json
from tailrace.formats.data.eval_item import EvalItem
from tailrace.formats.data.jsonl import dump_record
from tailrace.formats.data.trace import Step, Trace

NAME = "golden-v2"
"""The dataset's name."""

SEED = 42
"""Seed of the dataset's generator."""

MATH_TRACES = 50
"""Number of traces that add two numbers; they come first."""

TEXT_TRACES = 50
"""Number of traces that repeat a word."""

FRESH_SEED = 43
"""Seed of the generator of ``sums_43``."""

FRESH_SUMS = 100
"""Number of sums in the eval set ``sums_43``."""

WORDS = ("apple", "banana", "cherry", "date", "elderberry")
"""Words that are repeated."""


@dataclass(frozen=True)
class SeededFiles:
    """The two files of a seeded dataset."""

    dataset: Path
    manifest: Path
    changed: bool
    """False if both existed with the same bytes."""


def golden_v2() -> list[Trace]:
    """Return the 100 traces, always the same, in order; 67 of their prompts are distinct."""
    generator = random.Random(SEED)
    return [
        *(_addition(generator, idx) for idx in range(MATH_TRACES)),
        *(_repetition(generator, MATH_TRACES + idx) for idx in range(TEXT_TRACES)),
    ]


def fresh_sums() -> list[EvalItem]:
    """Return the eval set ``sums_43``: distinct sums worded as in golden-v2, none of them in it.

    A model that only memorised golden-v2 gets none of them right.
    """
    generator = random.Random(FRESH_SEED)
    prompts = {trace.prompt for trace in golden_v2()}
    items: list[EvalItem] = []
    while len(items) < FRESH_SUMS:
        trace = _addition(generator, len(items))
        if trace.prompt in prompts:
            continue
        prompts.add(trace.prompt)
        name = f"sums-{FRESH_SEED}-{len(items):03d}"
        items.append(EvalItem(name, trace.prompt, trace.answer, category="arithmetic"))
    return items


def golden_v2_bytes() -> bytes:
    """Return the content of the dataset file: one trace a line, UTF-8."""
    return "".join(dump_record(trace) for trace in golden_v2()).encode()


def golden_v2_manifest() -> dict[str, object]:
    """Return the manifest: name, seed, file, size and sha256, and counts."""
    traces = golden_v2()
    content = golden_v2_bytes()
    return {
        "name": NAME,
        "file": "dataset.jsonl",
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "traces": len(traces),
        "distinct_prompts": len({trace.prompt for trace in traces}),
        "cases": {"math_gen": MATH_TRACES, "text_gen": TEXT_TRACES},
        "seed": SEED,
    }


def write_golden_v2(datasets: Path) -> SeededFiles:
    """Write ``golden-v2/dataset.jsonl`` and ``manifest.json`` under ``datasets``.

    Files that already have the right bytes stay untouched.

    Raises:
        OSError: A file cannot be read or written.
    """
    folder = datasets / NAME
    folder.mkdir(parents=True, exist_ok=True)
    manifest = canonical_json(golden_v2_manifest()) + "\n"
    contents = {
        folder / "dataset.jsonl": golden_v2_bytes(),
        folder / "manifest.json": manifest.encode(),
    }
    changed = False
    for path, content in contents.items():
        if not path.is_file() or path.read_bytes() != content:
            path.write_bytes(content)
            changed = True
    return SeededFiles(folder / "dataset.jsonl", folder / "manifest.json", changed)


def _addition(generator: random.Random, idx: int) -> Trace:
    a, b = generator.randint(1, 100), generator.randint(1, 100)
    step = Step(i=0, type="calculation", content=f"Calculating {a} + {b} = {a + b}")
    return _trace(idx, "math_gen", f"What is {a} + {b}?", step, str(a + b))


def _repetition(generator: random.Random, idx: int) -> Trace:
    word, times = generator.choice(WORDS), generator.randint(2, 5)
    step = Step(i=0, type="reasoning", content=f"Repeating {word} {times} times")
    answer = " ".join([word] * times)
    return _trace(idx, "text_gen", f"Repeat '{word}' {times} times", step, answer)


def _trace(idx: int, case: str, prompt: str, step: Step, answer: str) -> Trace:
    metadata: dict[str, str | int | float | bool] = {"golden": "v2", "case": case, "idx": idx}
    return Trace(
        id=f"{NAME}-{idx:03d}", prompt=prompt, steps=[step], answer=answer, metadata=metadata
    )
