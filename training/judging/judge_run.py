"""All judges of a run, one after the other."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from tailrace.formats.data.jsonl import write_records
from tailrace.formats.data.leakage import leaked_ids
from tailrace.formats.data.prediction import ModelRole, Prediction
from tailrace.formats.data.split import Split
from tailrace.formats.endpoint_access import EndpointAccess
from tailrace.formats.results import JudgeResult
from tailrace.formats.spec.judge_spec import JudgeSpec
from training.evalsets import EvalSets
from training.judges import JudgeSetup, make_judge
from training.judging.judge_all import Judged, judge_predictions, refuse_errors
from training.observer import Observer, Observers

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class JudgeInputs:
    """What judges read."""

    eval_sets: EvalSets
    predictions: Sequence[Prediction]
    roles: Sequence[ModelRole]
    """Whose answers are judged."""
    baseline: Sequence[Prediction] | None = None
    """Another run's answers, for judges that compare."""
    models: Mapping[str, Path] = field(default_factory=dict)
    """Folders of models that judge, by the judge's name."""
    leaked: Mapping[str, int] = field(default_factory=dict)
    """How many items of each eval set were trained on."""
    access: EndpointAccess = field(default_factory=EndpointAccess)
    """Servers that may be asked, and the keys for them."""
    n_samples: int | None = None
    """How many answers each item should have; the most that any has where nobody says."""
    clock: date | None = None
    """The day that chat templates of models that judge read (default: today, UTC)."""


def run_judges(
    specs: Iterable[JudgeSpec], inputs: JudgeInputs, verdicts: Path, observer: Observer
) -> JudgeResult:
    """Judge, and write the verdicts of all judges to one file.

    Raises :class:`training.errors.ConfigError` for a judge that cannot be made, before any of them
    judges; :class:`training.errors.TooManyJudgeErrorsError` after the verdicts are written; and
    errors as :func:`training.judging.judge_all.judge_predictions`.
    """
    setups = [
        judge_setup(spec, inputs.models.get(spec.name), inputs.access, inputs.clock)
        for spec in specs
    ]
    judges = [(setup.spec, make_judge(setup)) for setup in setups]
    judged: list[tuple[JudgeSpec, Judged]] = []
    said = 0
    for number, (spec, judge) in enumerate(judges):
        found = judge_predictions(
            judge,
            inputs.eval_sets,
            inputs.predictions,
            inputs.roles,
            _OneOfSeveral(observer, said, len(judges) - number),
            baseline=_baseline(spec, inputs),
            leaked=inputs.leaked,
            n_samples=inputs.n_samples,
        )
        judged.append((spec, found))
        said += len(found.verdicts)
    write_records(verdicts, (verdict for _, each in judged for verdict in each.verdicts))
    for spec, each in judged:
        refuse_errors(each, spec.max_error_rate)
    return JudgeResult(
        scores=[score for _, each in judged for score in each.scores],
        comparisons=[comparison for _, each in judged for comparison in each.comparisons],
        template_date=_told_date(setups),
    )


def _told_date(setups: Iterable[JudgeSetup]) -> str | None:
    """Return the day that a judging model's chat template read; None where none has a clock."""
    for setup in setups:
        if setup.model is not None:
            from training.data.chat_format import ChatFormat
            from training.data.tokenizer import load_tokenizer

            day = ChatFormat(load_tokenizer(setup.model), setup.clock).template_date
            if day is not None:
                return day
    return None


class _OneOfSeveral(Observers):
    """Tells one judge's progress as that of all; the judges to come have as much to say."""

    def __init__(self, observer: Observer, said: int, left: int) -> None:
        super().__init__(observer)
        self._said, self._left = said, left

    def progress(self, done: int, total: int, unit: str) -> None:
        """Tell it with the verdicts of the judges before."""
        super().progress(self._said + done, self._said + total * self._left, unit)


def count_leaked(eval_sets: EvalSets, split: Split | None) -> dict[str, int]:
    """How many items of each eval set a training on the split's train part has seen."""
    if split is None:
        return {}
    prompts = {trace.prompt for trace in split.train}
    return {name: len(leaked_ids(items, prompts)) for name, items in eval_sets.items()}


def judge_setup(
    spec: JudgeSpec,
    folder: Path | None = None,
    access: EndpointAccess | None = None,
    clock: date | None = None,
) -> JudgeSetup:
    """What a judge is made from: with the given folder of its model, or that of the hub's model.

    ``clock`` is the day that the model's chat template reads (default: today, UTC). Raises
    errors as :func:`training.models.source.resolve_model`.
    """
    backend = spec.backend()
    if folder is None and backend is not None and backend.model is not None:
        from training.models.source import resolve_model

        folder = Path(resolve_model(backend.model))
    return JudgeSetup(spec, folder, access or EndpointAccess(), clock)


def _baseline(spec: JudgeSpec, inputs: JudgeInputs) -> Sequence[Prediction] | None:
    """Another run's answers, unless the spec asks for the base model's of this run."""
    return None if spec.compares_with_base() else inputs.baseline
