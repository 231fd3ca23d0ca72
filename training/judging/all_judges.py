"""All judges of a run, one after another."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from tailrace.formats.data.jsonl import write_records
from tailrace.formats.data.leakage import leaked_ids
from tailrace.formats.data.prediction import ModelRole, Prediction
from tailrace.formats.data.split import Split, prompt_texts
from tailrace.formats.endpoint_access import EndpointAccess
from tailrace.formats.results import JudgeResult
from tailrace.formats.spec.judge_spec import JudgeSpec
from training.evalsets import EvalSets
from training.judges import JudgeSetup, make_judge
from training.judging.one_judge import JudgeOutput, judge_predictions, refuse_errors
from training.judging.requirements import require_expectations
from training.observer import Observer, Observers

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class JudgeInputs:
    """Inputs that all judges of a run share."""

    eval_sets: EvalSets
    predictions: Sequence[Prediction]
    roles: Sequence[ModelRole]
    """Model roles whose predictions are judged."""
    baseline: Sequence[Prediction] | None = None
    """Another run's predictions, for judges that compare."""
    models: Mapping[str, Path] = field(default_factory=dict)
    """Folders of judging models, by the judge's name."""
    leaked: Mapping[str, int] = field(default_factory=dict)
    """Number of each eval set's items that the model was trained on."""
    access: EndpointAccess = field(default_factory=EndpointAccess)
    """Servers that judges may reach, and the keys for them."""
    n_samples: int | None = None
    """Number of predictions per item and role (default: the most that any item has)."""
    clock: date | None = None
    """Day that chat templates of judging models read (default: today, UTC)."""


def run_judges(
    specs: Iterable[JudgeSpec], inputs: JudgeInputs, verdicts: Path, observer: Observer
) -> JudgeResult:
    """Run all judges, and write their verdicts to one file.

    Raises:
        ConfigError: A judge cannot be made; none has judged yet.
        TooManyJudgeErrorsError: A judge failed too often; the verdicts are written.
        DataError: An eval set lacks the answers that a judge compares with, before any has judged;
            or a prediction is for an unknown item, or occurs twice.
        StoppedError: The observer requested a stop.
    """
    specs = list(specs)
    require_expectations(specs, inputs.eval_sets)
    setups = [
        judge_setup(spec, inputs.models.get(spec.name), inputs.access, inputs.clock)
        for spec in specs
    ]
    judges = [(setup.spec, make_judge(setup)) for setup in setups]
    outputs: list[tuple[JudgeSpec, JudgeOutput]] = []
    verdict_count = 0
    for number, (spec, judge) in enumerate(judges):
        output = judge_predictions(
            judge,
            inputs.eval_sets,
            inputs.predictions,
            inputs.roles,
            _CombinedProgress(observer, verdict_count, len(judges) - number),
            baseline=_baseline(spec, inputs),
            leaked=inputs.leaked,
            n_samples=inputs.n_samples,
        )
        outputs.append((spec, output))
        verdict_count += len(output.verdicts)
    write_records(verdicts, (verdict for _, output in outputs for verdict in output.verdicts))
    for spec, output in outputs:
        refuse_errors(output, spec.max_error_rate)
    return JudgeResult(
        scores=[score for _, output in outputs for score in output.scores],
        comparisons=[comparison for _, output in outputs for comparison in output.comparisons],
        template_date=_template_date(setups),
    )


def _template_date(setups: Iterable[JudgeSetup]) -> str | None:
    """Return the day that a judging model's chat template read; None if none has a clock."""
    for setup in setups:
        if setup.model is not None:
            from training.data.chat_format import ChatFormat
            from training.data.tokenizer import load_tokenizer

            day = ChatFormat(load_tokenizer(setup.model), setup.clock).template_date
            if day is not None:
                return day
    return None


class _CombinedProgress(Observers):
    """Reports one judge's progress as that of all, assuming equally many verdicts for each."""

    def __init__(self, observer: Observer, before: int, judges_left: int) -> None:
        super().__init__(observer)
        self._before, self._judges_left = before, judges_left

    def progress(self, done: int, total: int, unit: str) -> None:
        """Report progress that includes the verdicts of earlier judges."""
        super().progress(self._before + done, self._before + total * self._judges_left, unit)


def count_leaked(eval_sets: EvalSets, split: Split | None) -> dict[str, int]:
    """Return the number of each eval set's items that are in the train part of the split."""
    if split is None:
        return {}
    prompts = set(prompt_texts(split.train))
    return {name: len(leaked_ids(items, prompts)) for name, items in eval_sets.items()}


def judge_setup(
    spec: JudgeSpec,
    folder: Path | None = None,
    access: EndpointAccess | None = None,
    clock: date | None = None,
) -> JudgeSetup:
    """Return the arguments of a judge's constructor, with the folder of its model.

    Args:
        spec: The judge's entry in the run spec.
        folder: Folder of its model (default: download the hub's model that the spec names).
        access: Servers that the judge may reach, and the keys for them.
        clock: Day that the model's chat template reads (default: today, UTC).

    Raises:
        TrainingError: As :func:`training.models.source.resolve_model`.
    """
    backend = spec.backend()
    if folder is None and backend is not None and backend.model is not None:
        from training.models.source import resolve_model

        folder = Path(resolve_model(backend.model))
    return JudgeSetup(spec, folder, access or EndpointAccess(), clock)


def _baseline(spec: JudgeSpec, inputs: JudgeInputs) -> Sequence[Prediction] | None:
    """Return another run's predictions, unless the judge compares with this run's base model."""
    return None if spec.compares_with_base() else inputs.baseline
