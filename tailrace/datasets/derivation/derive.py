"""Datasets derived from the judged predictions of a run."""

from __future__ import annotations

import enum
import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby, product
from typing import Any, BinaryIO

from tailrace.client.blocking import Client
from tailrace.client.runs import TERMINAL_STATES
from tailrace.datasets.content import DatasetError
from tailrace.datasets.derivation.item_prompts import ItemPrompt, ItemPrompts
from tailrace.datasets.derivation.where import PASSES, Condition, Rating, parse_where
from tailrace.formats.canonical import canonical_json
from tailrace.formats.comparisons import FilterError
from tailrace.formats.data.message import Message, Role
from tailrace.formats.data.prediction import ModelRole
from tailrace.formats.data.record import (
    CompletionRecord,
    DatasetKind,
    PreferenceRecord,
    Text,
    dump_line,
)
from tailrace.formats.data.verdict import Outcome
from tailrace.formats.schema import to_mapping
from tailrace.formats.wording import describe
from tailrace.protomap import enum_word
from tailrace.v1 import evaluation_pb2, run_pb2

KINDS = (DatasetKind.COMPLETION, DatasetKind.PREFERENCE)
"""Kinds of derived datasets."""


class Pairs(enum.StrEnum):
    """Preference pairs of a prompt with several samples."""

    FIRST = "first"
    """The first selected sample with the first of the others."""
    ALL = "all"
    """Every selected sample with each of the others."""


@dataclass(frozen=True)
class Selection:
    """Predictions to derive a dataset from."""

    run: str
    """Name of the run."""
    kind: DatasetKind = DatasetKind.COMPLETION
    """``completion`` for the selected predictions; ``preference`` for pairs of a selected sample
    with one of the same prompt that is judged, but not selected."""
    judge: str = ""
    """Judge whose verdicts count; empty if the run has only one."""
    where: str = PASSES
    """Condition on the verdicts, see :func:`tailrace.datasets.derivation.where.parse_where`."""
    role: ModelRole = ModelRole.TRAINED
    """Model that generated the predictions."""
    eval_set: str = ""
    """Eval set of the predictions; empty for all."""
    pairs: Pairs = Pairs.FIRST
    """Pairs of each prompt; for preferences only."""


@dataclass
class Derivation:
    """A derived dataset: its source, and numbers of predictions."""

    kind: DatasetKind
    lineage: dict[str, str]
    """Run, judge, judge's version and condition, as ``Client.import_dataset`` takes them."""
    predictions: int = 0
    """Predictions of the model that the judge has judged."""
    selected: int = 0
    """Predictions with text that meet the condition."""
    duplicates: int = 0
    """Records left out because an earlier one has the same prompt and answers."""
    records: int = 0
    """Records of the dataset."""


def derive(client: Client, selection: Selection, target: BinaryIO) -> Derivation:
    """Write the dataset that a selection of predictions makes.

    An answer is the whole generated text, thinking included. A prompt is text or the messages of
    the eval item.

    Raises:
        DatasetError: The run has not ended, judge or condition is wrong, or nothing was selected.
        TailraceError: There is no such run, or a call failed.
        OSError: The target cannot be written.
    """
    if selection.kind not in KINDS:
        kinds = " or ".join(KINDS)
        raise DatasetError(f"a derived dataset must be of the kind {kinds}, not {selection.kind}")
    try:
        condition = parse_where(selection.where)
    except FilterError as error:
        raise DatasetError(
            f"the condition {describe(selection.where)} is wrong: {error}"
        ) from error
    run = client.get_run(selection.run)
    if run.state not in TERMINAL_STATES:
        raise DatasetError(f"{run.name} has not ended: `tailrace runs watch` waits for its end")
    judge = _judge(run, selection.judge)
    ratings = _read_ratings(client, selection, judge)
    if not ratings.by_prediction:
        of = f" on {selection.eval_set}" if selection.eval_set else ""
        raise DatasetError(
            f"{run.name} has no verdict of {judge} on the {selection.role} model{of}: change "
            "--judge, --role or --eval-set"
        )
    lineage = {
        "run": run.name,
        "judge": judge,
        "judge_version": ratings.version(judge),
        "where": selection.where.strip(),
    }
    derivation = Derivation(selection.kind, lineage, predictions=len(ratings.by_prediction))
    prompts = ItemPrompts(client, run, ratings.items_of(condition))
    tally = Counter[str]()
    digests: set[bytes] = set()
    for samples in _judged_samples(client, selection, ratings):
        chosen = [sample for sample in samples if condition(sample.rating)]
        derivation.selected += len(chosen)
        if not chosen:
            tally["only others"] += 1
            continue
        rest = [sample for sample in samples if _is_rejected(sample, condition)]
        tally["both" if rest else "only selected"] += 1
        for record in _records(selection, prompts.of(chosen[0].prediction), chosen, rest):
            digest = _digest(record)
            derivation.duplicates += digest in digests
            if digest not in digests:
                digests.add(digest)
                derivation.records += 1
                target.write(dump_line(record).encode())
    if not derivation.records:
        raise DatasetError(_nothing(selection, derivation, ratings, tally))
    return derivation


@dataclass(frozen=True)
class _Sample:
    prediction: evaluation_pb2.Prediction
    rating: Rating


@dataclass
class _Ratings:
    by_prediction: dict[tuple[str, str, int], Rating] = field(default_factory=dict)
    versions: set[str] = field(default_factory=set)

    def version(self, judge: str) -> str:
        """Return the judge's version. Raises :class:`DatasetError` if there are several."""
        if len(self.versions) > 1:
            raise DatasetError(
                f"the verdicts of {judge} are of the versions {', '.join(sorted(self.versions))}, "
                "whose scores do not compare: judge the predictions again"
            )
        return next(iter(self.versions))

    def items_of(self, condition: Condition) -> dict[str, set[str]]:
        """Return the ids of items with a prediction that meets the condition, by eval set."""
        ids: dict[str, set[str]] = {}
        for (eval_set, example_id, _), rating in self.by_prediction.items():
            if condition(rating):
                ids.setdefault(eval_set, set()).add(example_id)
        return ids

    def outcomes(self) -> str:
        """Return the number of each outcome in words."""
        counts = Counter(rating.outcome for rating in self.by_prediction.values())
        return ", ".join(f"{counts[outcome]} {outcome}" for outcome in Outcome)


def _judge(run: run_pb2.Run, name: str) -> str:
    names = [judge.name for judge in run.resolved_spec.judges]
    if not names:
        way_out = f"judge its predictions first (tailrace runs judge {run.name} --judge NAME)"
        raise DatasetError(f"{run.name} has no judges: {way_out}")
    if name and name not in names:
        raise DatasetError(f"{name!r} is not a judge of {run.name}: must be {' or '.join(names)}")
    if not name and len(names) > 1:
        raise DatasetError(f"{run.name} has the judges {', '.join(names)}: choose one with --judge")
    return name or names[0]


def _read_ratings(client: Client, selection: Selection, judge: str) -> _Ratings:
    ratings = _Ratings()
    for verdict in client.list_verdicts(selection.run, eval_set=selection.eval_set, judge=judge):
        role = _word(evaluation_pb2.ModelRole, verdict.model_role)
        if role != selection.role or not verdict.outcome:
            continue
        outcome = Outcome(_word(evaluation_pb2.Outcome, verdict.outcome))
        score = verdict.score if verdict.HasField("score") else None
        key = (verdict.eval_set, verdict.example_id, verdict.sample)
        ratings.by_prediction[key] = Rating(outcome, score)
        ratings.versions.add(verdict.version)
    return ratings


def _judged_samples(
    client: Client, selection: Selection, ratings: _Ratings
) -> Iterator[list[_Sample]]:
    """Yield the judged predictions with text, item by item."""

    def item_of(prediction: evaluation_pb2.Prediction) -> tuple[str, str]:
        return prediction.eval_set, prediction.example_id

    predictions = client.list_predictions(selection.run, eval_set=selection.eval_set)
    for key, group in groupby(predictions, item_of):
        samples = []
        for prediction in group:
            rating = ratings.by_prediction.get((*key, prediction.sample))
            is_of_role = _word(evaluation_pb2.ModelRole, prediction.model_role) == selection.role
            if rating and is_of_role and not prediction.error and prediction.text.strip():
                samples.append(_Sample(prediction, rating))
        if samples:
            yield samples


def _is_rejected(sample: _Sample, condition: Condition) -> bool:
    return sample.rating.outcome is not Outcome.ERROR and not condition(sample.rating)


def _records(
    selection: Selection, prompt: ItemPrompt, chosen: list[_Sample], rest: list[_Sample]
) -> Iterator[CompletionRecord | PreferenceRecord]:
    if selection.kind is DatasetKind.COMPLETION:
        for sample in chosen:
            answer = _answer(prompt, sample)
            yield CompletionRecord(
                prompt.prompt, answer, prompt.tools, metadata=_metadata(sample, "")
            )
        return
    pairs = product(chosen, rest)
    for better, worse in pairs if selection.pairs is Pairs.ALL else _first(pairs):
        if better.prediction.text == worse.prediction.text:
            continue
        metadata = _metadata(better, "chosen_") | _metadata(worse, "rejected_")
        answers = _answer(prompt, better), _answer(prompt, worse)
        yield PreferenceRecord(prompt.prompt, *answers, prompt.tools, metadata=metadata)


def _first(pairs: Iterator[tuple[_Sample, _Sample]]) -> Iterator[tuple[_Sample, _Sample]]:
    """Yield the first pair whose texts differ."""
    for better, worse in pairs:
        if better.prediction.text != worse.prediction.text:
            yield better, worse
            return


def _answer(prompt: ItemPrompt, sample: _Sample) -> Text:
    text = sample.prediction.text
    return text if isinstance(prompt.prompt, str) else [Message(Role.ASSISTANT, text)]


def _metadata(sample: _Sample, prefix: str) -> dict[str, Any]:
    prediction = sample.prediction
    metadata = {
        "eval_set": prediction.eval_set,
        "example_id": prediction.example_id,
        f"{prefix}sample": prediction.sample,
    }
    if sample.rating.score is not None:
        metadata[f"{prefix}score"] = sample.rating.score
    return metadata


def _digest(record: CompletionRecord | PreferenceRecord) -> bytes:
    content = to_mapping(record)
    del content["metadata"]
    return hashlib.blake2b(canonical_json(content).encode(), digest_size=16).digest()


def _nothing(
    selection: Selection, derivation: Derivation, ratings: _Ratings, tally: Counter[str]
) -> str:
    """Return the reason why a selection has no records, with counts."""
    condition = describe(selection.where)
    judgement = (
        f"{derivation.predictions} predictions of the {selection.role} model are judged by "
        f"{derivation.lineage['judge']} ({ratings.outcomes()})"
    )
    if not derivation.selected:
        return f"no prediction with text meets {condition}: {judgement}; change --where"
    return (
        f"no prompt has both a sample that meets {condition} and another answer that does "
        f"not: of {tally.total()} prompts {tally['only selected']} have only the first and "
        f"{tally['only others']} only the second; {judgement}; raise infer.n_samples and "
        "infer.temperature"
    )


def _word(words: Any, number: int) -> str:
    return enum_word(words.DESCRIPTOR, number)
