"""Resolution of a run spec: the names in it exist, and their versions are fixed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from sqlalchemy.ext.asyncio import AsyncConnection

from services.domain.baseline import parse_baseline_name
from services.domain.content.model import Model
from services.domain.errors import InvalidInput, NotFound
from services.domain.run import parse_run_name
from services.storage.rows import baselines, runs, workers
from services.usecases.content import datasets, eval_sets, models
from services.usecases.runs.model_source import pin_source, run_model
from services.usecases.runs.predictions_source import find_predictions
from tailrace.formats.data.record import DatasetKind
from tailrace.formats.model.adapter import UNMERGED_CONFIG
from tailrace.formats.schema import SpecError, Violation, parse, to_mapping
from tailrace.formats.spec.infer_spec import is_imported
from tailrace.formats.spec.judge_spec import JUDGES, JudgeSpec
from tailrace.formats.spec.model_spec import AdapterUse
from tailrace.formats.spec.run_spec import GateSpec, RunSpec
from tailrace.formats.wording import unknown_name

_OF_PREDICTIONS = ("dataset", "model", "train", "infer")
"""Blocks that a run of predictions takes from the run that generated them."""


async def resolve_spec(conn: AsyncConnection, project: str, spec: RunSpec) -> RunSpec:
    """Return the spec with versions, baselines and the source of predictions fixed.

    Raises:
        InvalidInput: A field of the spec is not valid.
        NotFound: A dataset, eval set, model, run or baseline does not exist.
        FailedPrecondition: A run that the spec names has no predictions (NO_PREDICTIONS).
    """
    violations = await unknown_judges(conn, [judge.name for judge in spec.judges])
    rewards = spec.reward_judges
    violations += await unknown_judges(
        conn, [judge.name for judge in rewards], "spec.train.grpo.rewards[{}].judge.name"
    )
    if violations:
        raise InvalidInput(violations)
    if spec.predictions is not None:
        spec = await _with_predictions(conn, project, spec, spec.predictions)
    spec = await _with_eval_sets(conn, project, spec)
    for i, reward in enumerate(rewards):
        field = f"spec.train.grpo.rewards[{i}].judge"
        spec = _with_reward(spec, i, await _with_model(conn, project, reward, field))
    spec = await _with_teacher(conn, project, spec)
    judges = [
        await _with_model(conn, project, judge, f"spec.judges[{i}]")
        for i, judge in enumerate(spec.judges)
    ]
    spec = dataclasses.replace(spec, judges=judges)
    for i, judge in enumerate(spec.judges):
        baseline = judge.baseline()
        if baseline is not None:
            field = f"spec.judges[{i}].{judge.name}.baseline"
            await find_predictions(conn, project, baseline, field)
    gates = [
        await _with_run(conn, project, gate, f"spec.gates[{i}].baseline")
        for i, gate in enumerate(spec.gates)
    ]
    spec = dataclasses.replace(spec, gates=gates)
    # Predictions of another run name the version that generated them, which may be deleted.
    source = spec.model.source if spec.model and spec.predictions is None else None
    if source is not None and spec.model is not None and models.is_imported(source):
        model = await models.resolve(conn, project, source)
        if spec.model.adapter is AdapterUse.CONTINUE:
            _require_adapter(model)
        pinned = dataclasses.replace(spec.model, source=model.versioned_name)
        spec = dataclasses.replace(spec, model=pinned)
    if run_model(spec) is not None and spec.model is not None:
        run_source = await pin_source(conn, project, spec.model)
        spec = dataclasses.replace(spec, model=dataclasses.replace(spec.model, source=run_source))
    if spec.dataset is None:
        return spec
    dataset = await datasets.VERSIONS.resolve(conn, project, spec.dataset)
    _check_kind(spec, dataset.kind)
    _check_split(spec, dataset.lines.prompt_count)
    return dataclasses.replace(spec, dataset=dataset.reference)


async def unknown_judges(
    conn: AsyncConnection, names: Sequence[str], field: str = "spec.judges[{}].name"
) -> list[Violation]:
    """Return violations for judges that are neither built in nor installed on a live worker.

    ``field`` is the form of their fields, with a place for the number of the judge.
    """
    if all(name in JUDGES for name in names):
        return []
    foreign = {name for worker in await workers.list_live(conn) for name in worker.judges}
    judge_names = (*JUDGES, *sorted(foreign))
    problems = [unknown_name(name, judge_names) for name in names]
    return [Violation(field.format(i), problem) for i, problem in enumerate(problems) if problem]


async def _with_model(
    conn: AsyncConnection, project: str, judge: JudgeSpec, path: str
) -> JudgeSpec:
    """Return the judge with the version of its model fixed. Raises ``NotFound``."""
    backend = judge.backend()
    if backend is None or not backend.model or not models.is_imported(backend.model):
        return judge
    field = f"{path}.{judge.name}.backend.model"
    model = await models.resolve(conn, project, backend.model, field)
    pinned = dataclasses.replace(backend, model=model.versioned_name)
    options = dataclasses.replace(getattr(judge, judge.name), backend=pinned)
    return dataclasses.replace(judge, **{judge.name: options})


def _with_reward(spec: RunSpec, place: int, judge: JudgeSpec) -> RunSpec:
    """Return the spec with another judge in one of its rewards."""
    if spec.train is None or spec.train.grpo is None:
        return spec
    rewards = [*spec.train.grpo.rewards]
    rewards[place] = dataclasses.replace(rewards[place], judge=judge)
    grpo = dataclasses.replace(spec.train.grpo, rewards=rewards)
    return dataclasses.replace(spec, train=dataclasses.replace(spec.train, grpo=grpo))


async def _with_teacher(conn: AsyncConnection, project: str, spec: RunSpec) -> RunSpec:
    """Return the spec with the version of a distillation's teacher fixed. Raises ``NotFound``."""
    if spec.train is None or spec.train.distill is None:
        return spec
    distill = spec.train.distill
    teacher = await models.resolve(conn, project, distill.teacher, "spec.train.distill.teacher")
    distill = dataclasses.replace(distill, teacher=teacher.versioned_name)
    return dataclasses.replace(spec, train=dataclasses.replace(spec.train, distill=distill))


async def _with_predictions(
    conn: AsyncConnection, project: str, spec: RunSpec, predictions: str
) -> RunSpec:
    """Return the spec with the blocks of the run that generated the predictions."""
    conflicts = [name for name in _OF_PREDICTIONS if getattr(spec, name) is not None]
    if conflicts:
        comes = "comes from the run of predictions: leave it out"
        raise InvalidInput([Violation(f"spec.{name}", comes) for name in conflicts])
    run, _ = await find_predictions(conn, project, predictions)
    source_blocks = {name: run.stored_spec.mapping.get(name) for name in _OF_PREDICTIONS}
    infer = run.resolved_spec.infer
    imported = filter(is_imported, infer.eval_sets if infer else [])
    spec = _gated(spec, {name.partition("@")[0]: name for name in imported})
    try:
        return parse(RunSpec, to_mapping(spec) | source_blocks | {"predictions": run.name})
    except SpecError as error:
        violations = [Violation(f"spec.{v.field}", v.description) for v in error.violations]
        raise InvalidInput(violations) from error


async def _with_eval_sets(conn: AsyncConnection, project: str, spec: RunSpec) -> RunSpec:
    """Return the spec with the versions of imported eval sets fixed, also in its gates."""
    if spec.infer is None:
        return spec
    references: dict[str, str] = {}
    for i, name in enumerate(spec.infer.eval_sets):
        field = f"spec.infer.eval_sets[{i}]"
        imported = is_imported(name)
        version = await eval_sets.VERSIONS.resolve(conn, project, name, field) if imported else None
        reference = name if version is None else version.reference
        if reference in references.values():
            raise InvalidInput.field(field, f"{reference} is named twice")
        references[name] = reference
    infer = dataclasses.replace(spec.infer, eval_sets=[*references.values()])
    return dataclasses.replace(_gated(spec, references), infer=infer)


def _gated(spec: RunSpec, names: Mapping[str, str]) -> RunSpec:
    """Return the spec with the eval sets of its gates renamed."""
    gates = [
        dataclasses.replace(gate, eval_set=names.get(gate.eval_set, gate.eval_set))
        if gate.eval_set is not None
        else gate
        for gate in spec.gates
    ]
    return dataclasses.replace(spec, gates=gates)


async def _with_run(conn: AsyncConnection, project: str, gate: GateSpec, field: str) -> GateSpec:
    """Return the gate with its baseline replaced by the run that it names now."""
    if gate.baseline is None:
        return gate
    try:
        if gate.baseline.startswith("runs/"):
            run = await runs.get(conn, project, parse_run_name(gate.baseline, field))
            return dataclasses.replace(gate, baseline=run.name)
        baseline_id = parse_baseline_name(gate.baseline, field)
        baseline = await baselines.get(conn, project, baseline_id)
    except NotFound as error:
        # The message must name the gate: a spec has several, and the new run has a name, too.
        raise NotFound(error.reason, f"{field}: {error.message}", **error.metadata) from error
    return dataclasses.replace(gate, baseline=baseline.run)


def _require_adapter(model: Model) -> None:
    """Raise unless an adapter was imported with the model."""
    if any(file.path == UNMERGED_CONFIG for file in model.artifact.listing.files):
        return
    raise InvalidInput.field(
        "spec.model.adapter",
        f"cannot continue: {model.versioned_name} has no adapter; import one with its base model "
        "(`tailrace models import ADAPTER --base models/NAME`), or leave model.adapter out",
    )


def _check_kind(spec: RunSpec, kind: DatasetKind) -> None:
    if spec.train is None or kind in spec.train.dataset_kinds:
        return
    if spec.train.dpo is not None:
        raise InvalidInput.field(
            "spec.dataset",
            f"{spec.dataset} has the kind {kind}, and train.dpo learns from pairs of answers: name "
            f"a dataset of the kind {DatasetKind.PREFERENCE} (`tailrace datasets derive` makes one "
            "of judged predictions), or train with train.sft",
        )
    if spec.train.kto is not None:
        raise InvalidInput.field(
            "spec.dataset",
            f"{spec.dataset} has the kind {kind}, and train.kto learns from answers with a label: "
            f"name a dataset of the kind {DatasetKind.FEEDBACK} (`tailrace datasets import`), or "
            "train with train.sft or train.dpo",
        )
    sampled = ", or set train.distill.on_policy" if spec.train.distill is not None else ""
    raise InvalidInput.field(
        "spec.dataset",
        f"{spec.dataset} has the kind {kind}, whose lines have no answer to learn: train on "
        f"messages, completions, preferences or traces{sampled}",
    )


def _check_split(spec: RunSpec, prompts: int) -> None:
    if spec.train is None or spec.train.eval_fraction == 0:
        return
    held_out = round(spec.train.eval_fraction * prompts)
    if 0 < held_out < prompts:
        return
    part = "held-out" if held_out == 0 else "train"
    raise InvalidInput.field(
        "spec.train.eval_fraction",
        f"leaves the {part} part empty: {spec.dataset} has {prompts} distinct prompts",
    )
