"""Eval sets by name: those that ship with the library, files and parts of a dataset."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tailrace.formats.catalog import EVAL_SETS
from tailrace.formats.data.eval_item import EvalItem, read_eval_items
from tailrace.formats.data.jsonl import FormatError
from tailrace.formats.data.record import Record
from tailrace.formats.data.split import HELD_OUT, TRAIN, Split, eval_items, has_question
from tailrace.formats.data.thinking import without_thinking
from tailrace.formats.data.trace import Trace
from tailrace.formats.spec.judge_spec import JudgeSpec
from training.data.rendering import render_response
from training.errors import DataError
from training.judges.answer_correctness import AnswerCorrectnessJudge
from training.judges.base import JudgeSetup

EvalSets = Mapping[str, Sequence[EvalItem]]
"""Eval sets by the name that predictions carry."""

_HERE = Path(__file__).parent


def load_eval_set(name: str, split: Split | None = None) -> list[EvalItem]:
    """Return the items of a shipped eval set, a file, or one part of a split dataset.

    Args:
        name: ``dataset:train``, ``dataset:held_out``, the name of a shipped set (``eval_v1``) or
            the path of a JSON Lines file.
        split: The dataset, for its two parts.

    Raises:
        DataError: The set is unknown or empty, or the file has wrong lines, all of which are named.
    """
    if name in (TRAIN, HELD_OUT):
        return _part(name, split)
    shipped = name in EVAL_SETS
    path = _HERE / f"{name}.jsonl" if shipped else Path(name)
    if not path.is_file():
        raise DataError(
            f"there is no eval set {name!r}: give {TRAIN}, {HELD_OUT}, {', '.join(EVAL_SETS)}, or "
            "the path of a JSON Lines file"
        )
    try:
        return read_eval_items(path)
    except FormatError as error:
        raise DataError(f"{path}: {error}") from error


def load_eval_sets(
    names: Iterable[str], split: Split | None = None, imported: Mapping[str, str] | None = None
) -> dict[str, list[EvalItem]]:
    """Return several eval sets by the names that predictions carry: for a file, its stem.

    Args:
        names: Names as for :func:`load_eval_set`.
        split: The dataset, for its two parts.
        imported: Files of eval sets that go by another name than their stem.

    Raises:
        DataError: As :func:`load_eval_set`, or two sets have the same name.
    """
    files = imported or {}
    sets: dict[str, list[EvalItem]] = {}
    for name in names:
        label = name if name in (TRAIN, HELD_OUT) or name in files else Path(name).stem
        if label in sets:
            raise DataError(f"two eval sets are called {label!r}")
        sets[label] = load_eval_set(files.get(name, name), split)
    return sets


def require_questions(names: Iterable[str], records: Iterable[Record]) -> None:
    """Require that a dataset asks something if its parts are to be eval sets.

    A training is refused before its first step then, not at the inference that follows it.

    Raises:
        DataError: No record has a question.
    """
    parts = [name for name in names if name in (TRAIN, HELD_OUT)]
    if parts and not any(map(has_question, records)):
        raise DataError(
            f"{parts[0]} asks for nothing: no line of the dataset has a prompt to answer, as plain "
            "text has none: name other eval sets"
        )


def _part(name: str, split: Split | None) -> list[EvalItem]:
    if split is None:
        raise DataError(f"{name} needs a dataset")
    records = split.train if name == TRAIN else split.held_out
    items = eval_items(records)
    if not records:
        raise DataError(f"{name} is empty: train with eval_fraction above 0")
    if not items:
        raise DataError(
            f"{name} asks for nothing: none of its {len(records)} records has a prompt with an "
            "answer to expect; use an eval set of your own"
        )
    return items_for_traces(items, (record for record in records if isinstance(record, Trace)))


def _rendered_answer(trace: Trace) -> str:
    return without_thinking(render_response(trace), [trace.answer]) or ""


def items_for_traces(items: Sequence[EvalItem], traces: Iterable[Trace]) -> list[EvalItem]:
    """Return a dataset's items with ``last_marker`` set if their traces need it.

    A trace needs it if its steps mark another answer on the way: a model that repeats its training
    data word for word must be right.
    """
    judge = AnswerCorrectnessJudge(JudgeSetup(JudgeSpec("answer_correctness")))
    by_prompt = {item.prompt: item for item in items}
    ambiguous = {
        trace.prompt
        for trace in traces
        if not judge.judge(by_prompt[trace.prompt], _rendered_answer(trace)).passed
    }
    return [replace(item, last_marker=True) if item.prompt in ambiguous else item for item in items]
