"""Distillations on answers that the student samples, in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tailrace.formats.certificate import CERTIFICATES, Finding, compare, read_certificates
from tailrace.formats.data.message import Message, Role
from tailrace.formats.data.prediction import FinishReason
from tailrace.formats.data.record import PromptRecord
from tailrace.formats.data.rollout import Rollout, read_rollouts, rollouts_file
from tailrace.formats.schema import parse
from tailrace.formats.spec.run_spec import ModelSpec, TrainSpec
from tests.unit.training.conftest import Recorder
from tests.unit.training.taught_models import save_student_and_teacher
from training.checkpoints.checkpoint import list_checkpoints
from training.errors import ModelConfigError, OverlongError, StoppedError
from training.loop.start import Start, prepare
from training.objectives.distill import AGREEMENT, DIVERGENCE
from training.observer import StopRequest
from training.rollouts.on_policy import OnPolicyAnswers
from training.rollouts.sampler import Sampler
from training.rollouts.store import RolloutStore
from training.stage.training_run import TrainingPaths, run_training

STEPS = 24

PROMPTS = [
    PromptRecord([Message(Role.USER, f"What is {i} + {i}?")], id=f"p{i}") for i in range(50, 90)
]
"""Prompts of one length, which one program each serves."""


def spec(**changes: Any) -> TrainSpec:
    distill = {"teacher": "models/teacher@1", "on_policy": {"max_new_tokens": 8}}
    # The learning rate of the first step is 0, so that its evaluation is the starting model's.
    shape = {
        "max_steps": STEPS,
        "warmup_steps": 1,
        "batch_size": 8,
        "max_seq_length": 40,
        "learning_rate": 3e-2,
        "eval_fraction": 0.2,
        "eval_every_steps": 1,
        "log_every_steps": 1,
        "save_every_steps": 8,
    }
    return parse(TrainSpec, {**shape, "distill": distill, **changes})


class Killed(Recorder):
    """Observer that ends the training when the rollouts of a step are committed."""

    def __init__(self, at: int | None = None) -> None:
        super().__init__()
        self.committed: list[int] = []
        self._committed_at = at

    def rollouts(self, step: int, path: Path) -> None:
        assert path.is_file()
        self.committed.append(step)
        self.check_stop()

    def stop_request(self) -> StopRequest | None:
        ended = self._committed_at in self.committed
        return StopRequest.CANCEL if ended else None


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return save_student_and_teacher(tmp_path_factory.mktemp("models"), PROMPTS)


def train(
    folder: Path,
    models: tuple[Path, Path],
    observer: Killed,
    train_spec: TrainSpec | None = None,
    **options: Any,
) -> None:
    student, teacher = models
    run_training(
        ModelSpec(source="models/student@1"),
        train_spec or spec(),
        PROMPTS,
        TrainingPaths.in_folder(folder),
        observer,
        folder=student,
        teacher=teacher,
        **options,
    )


def certificates(folder: Path) -> Any:
    path = folder / CERTIFICATES
    return read_certificates(path.read_text(), str(path))


def rollouts(folder: Path, step: int) -> list[Rollout]:
    return list(read_rollouts(folder / "rollouts" / rollouts_file(step)))


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory, models: tuple[Path, Path]
) -> tuple[Path, Killed]:
    folder, observer = tmp_path_factory.mktemp("undisturbed"), Killed()
    train(folder, models, observer)
    return folder, observer


def test_the_divergence_on_answers_to_held_out_prompts_at_least_halves(
    undisturbed: tuple[Path, Killed],
) -> None:
    _, observer = undisturbed
    starting, final = observer.evaluations[0], observer.evaluations[-1]
    assert final.metrics[DIVERGENCE] == pytest.approx(final.eval_loss)
    assert final.metrics[DIVERGENCE] < starting.metrics[DIVERGENCE] / 2
    assert final.metrics[AGREEMENT] > starting.metrics[AGREEMENT]


def test_each_step_learns_from_its_own_answers_without_rewards(
    undisturbed: tuple[Path, Killed],
) -> None:
    folder, observer = undisturbed
    assert observer.committed == list(range(1, STEPS + 1))
    answers = rollouts(folder, 1)
    assert len(answers) == 8
    for answer in answers:
        assert (answer.reward, answer.advantage, answer.parts) == (None, None, [])
        assert 0 < len(answer.token_ids) == len(answer.logprobs) <= 8
    assert rollouts(folder, 5) != answers
    figures = observer.points[0].metrics
    assert {"answer_tokens", "truncated_share", "rollout_tokens_per_second"} <= set(figures)
    assert not any(name.startswith("reward") for name in figures)


def test_a_training_that_ends_between_commit_and_update_learns_from_the_same_answers(
    undisturbed: tuple[Path, Killed], models: tuple[Path, Path], tmp_path: Path, monkeypatch: Any
) -> None:
    killed_at = 11
    with pytest.raises(StoppedError):
        train(tmp_path, models, Killed(killed_at))
    sampled: list[int] = []
    sample = Sampler.sample

    def counted(self: Sampler, values: Any, prompts: Any, step: int, samples: range) -> Any:
        sampled.append(step)
        return sample(self, values, prompts, step, samples)

    monkeypatch.setattr(Sampler, "sample", counted)
    saved = list_checkpoints(tmp_path / "checkpoints")
    # The files of a worker's earlier attempts are in a folder apart from those of the new one.
    committed = (tmp_path / "rollouts").rename(tmp_path / "committed")
    train(tmp_path, models, Killed(), resume=saved[-1], rollouts=committed)
    assert [step for step in sampled if step] == list(range(killed_at + 1, STEPS + 1))
    issued = compare(certificates(tmp_path), certificates(undisturbed[0]))
    assert (issued.finding, issued.steps[-1]) == (Finding.EQUAL, STEPS)


def test_long_prompts_are_refused_with_the_keys_that_bound_them(
    models: tuple[Path, Path], tmp_path: Path
) -> None:
    with pytest.raises(OverlongError, match=r"lower train\.distill\.on_policy\.max_new_tokens"):
        train(tmp_path, models, Killed(), spec(max_seq_length=12))


def taught_start(folder: Path, rows: tuple[int, int]) -> Start:
    student, teacher = save_student_and_teacher(folder, PROMPTS, rows)
    return prepare(ModelSpec(source="models/student@1"), spec(), PROMPTS, student, teacher=teacher)


def test_an_answer_is_learnt_up_to_the_first_token_that_the_teacher_cannot_read(
    tmp_path: Path,
) -> None:
    start = taught_start(tmp_path, (8, 0))
    assert start.teacher is not None
    unknown = start.teacher.model.vocabulary
    observer = Recorder()
    source = OnPolicyAnswers(start, spec(), RolloutStore(tmp_path, observer), observer)
    answers = [
        Rollout(1, 0, "p", 0, "p", "t", FinishReason.LENGTH, token_ids)
        for token_ids in ([5, 6, unknown, 7], [unknown, 5], [5, 6, 7])
    ]
    batch = source._rows(answers, 1, None)
    assert batch.tokens.max() < unknown
    assert batch.weights[0].sum(-1)[:4].tolist() == [2, 0, 3, 0]


def test_a_teacher_that_cannot_read_the_prompts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelConfigError, match=r"but train\.distill\.teacher models/teacher@1"):
        taught_start(tmp_path, (0, -200))
