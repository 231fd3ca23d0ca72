"""Trainings on sampled answers, in this process."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from tailrace.formats.certificate import CERTIFICATES, Finding, compare, read_certificates
from tailrace.formats.data.message import Message, Role
from tailrace.formats.data.record import FeedbackRecord, PromptRecord
from tailrace.formats.data.rollout import Rollout, read_rollouts, rollouts_file
from tailrace.formats.data.trace import Trace
from tailrace.formats.schema import parse
from tailrace.formats.spec.run_spec import ModelSpec, TrainSpec
from training.checkpoints.checkpoint import list_checkpoints
from training.errors import DataError, PreflightError, StoppedError, TooManyJudgeErrorsError
from training.judges import base
from training.loop.start import prepare
from training.observer import MetricPoint, Observer, StopRequest
from training.rollouts.rewards import Rewards
from training.rollouts.sampler import Sampler
from training.stage.training_run import TrainingPaths, run_training

NANO = ModelSpec(preset="gpt2-nano")

STEPS = 4


def spec(**changes: Any) -> TrainSpec:
    grpo = {
        "rewards": [{"judge": {"name": "regex", "regex": {"pattern": "[a-m]"}}}],
        "length": {"free_tokens": 1, "weight": 0.5},
        "n_samples": 3,
        "max_new_tokens": 6,
        "preflight": {"mode": "off"},
        **changes,
    }
    shape = {
        "max_steps": STEPS,
        "batch_size": 2,
        "max_seq_length": 48,
        "learning_rate": 1e-3,
        "save_every_steps": 2,
        "log_every_steps": 1,
    }
    return parse(TrainSpec, {**shape, "grpo": grpo})


class Recorder(Observer):
    """Metric points, and a stop before a step's rollouts count as committed, or after a step."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.points: list[MetricPoint] = []
        self.committed: list[int] = []
        self._stop_at = stop_at
        self._stopped = False

    def metric(self, point: MetricPoint) -> None:
        self.points.append(point)

    def rollouts(self, step: int, path: Path) -> None:
        assert path.is_file()
        self.committed.append(step)
        self._stopped = step == self._stop_at
        self.check_stop()

    def stop_request(self) -> StopRequest | None:
        return StopRequest.CANCEL if self._stopped else None


@pytest.fixture(scope="module")
def prompts(traces: list[Trace]) -> list[Trace]:
    return traces[:6]


def train(folder: Path, prompts: list[Trace], observer: Observer, **options: Any) -> None:
    train_spec = options.pop("spec", spec())
    run_training(NANO, train_spec, prompts, TrainingPaths.in_folder(folder), observer, **options)


def certificates(folder: Path) -> Any:
    path = folder / CERTIFICATES
    return read_certificates(path.read_text(), str(path))


def rollouts(folder: Path, step: int) -> list[Rollout]:
    return list(read_rollouts(folder / "rollouts" / rollouts_file(step)))


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, prompts: list[Trace]) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    observer = Recorder()
    train(folder, prompts, observer)
    assert observer.committed == [1, 2, 3, 4]
    figures = observer.points[-1].metrics
    assert figures["sampler_gap"] < 1e-4
    assert {"reward", "reward_regex", "reward_length", "reward_spread", "entropy"} <= set(figures)
    assert {"clip_share", "answer_tokens", "rollout_tokens_per_second"} <= set(figures)
    return folder


def test_rollouts_have_rewards_and_advantages(undisturbed: Path) -> None:
    answers = rollouts(undisturbed, 1)
    assert len(answers) == 6
    for answer in answers:
        assert answer.reward is not None
        assert answer.reward == pytest.approx(
            sum(part.weight * part.score for part in answer.parts if part.score is not None)
        )
        assert len(answer.token_ids) == len(answer.logprobs) <= 6
    for group in (answers[:3], answers[3:]):
        assert sum(answer.advantage or 0 for answer in group) == pytest.approx(0, abs=1e-9)
    assert rollouts(undisturbed, 2) != answers


@pytest.mark.parametrize("stop_at", [1, 3, 4])
def test_a_training_that_ends_between_commit_and_update_learns_from_the_same_answers(
    stop_at: int, undisturbed: Path, prompts: list[Trace], tmp_path: Path, monkeypatch: Any
) -> None:
    with pytest.raises(StoppedError):
        train(tmp_path, prompts, Recorder(stop_at))
    before = rollouts(tmp_path, stop_at)
    sampled: list[int] = []
    sample = Sampler.sample

    def counted(self: Sampler, values: Any, prompts: Any, step: int, samples: range) -> Any:
        sampled.append(step)
        return sample(self, values, prompts, step, samples)

    monkeypatch.setattr(Sampler, "sample", counted)
    judged: list[int] = []
    score = Rewards.score

    def scored(self: Rewards, answers: Any) -> Any:
        judged.append(len(answers))
        return score(self, answers)

    monkeypatch.setattr(Rewards, "score", scored)
    saved = list_checkpoints(tmp_path / "checkpoints")
    # The files of a worker's earlier attempts are in a folder apart from those of the new one.
    committed = (tmp_path / "rollouts").rename(tmp_path / "committed")
    train(tmp_path, prompts, Recorder(), resume=saved[-1] if saved else None, rollouts=committed)
    assert sampled == list(range(stop_at + 1, STEPS + 1))
    assert judged == [6] * len(sampled)
    assert before == rollouts(undisturbed, stop_at)
    issued = compare(certificates(tmp_path), certificates(undisturbed))
    assert (issued.finding, issued.steps[-1]) == (Finding.EQUAL, STEPS)


def test_inner_steps_share_a_rollout_and_compare_with_the_probabilities_before_them(
    prompts: list[Trace], tmp_path: Path
) -> None:
    observer = Recorder()
    changed = spec(inner_steps=2, kl_beta=0.1, loss="dapo", clip_low=0.0, clip_high=0.0)
    train(tmp_path, prompts, observer, spec=changed)
    assert observer.committed == [1, 3]
    first, second, *_ = (point.metrics for point in observer.points)
    assert first["clip_share"] == pytest.approx(0, abs=1e-6)
    assert second["clip_share"] > 0
    assert first["kl"] == pytest.approx(0, abs=1e-6)
    assert second["kl"] > 0


def test_parts_of_a_batch_train_alike(prompts: list[Trace], tmp_path: Path) -> None:
    losses = {}
    for micro in (None, 2):
        observer = Recorder()
        options = dataclasses.replace(spec(), micro_batch_size=micro, max_steps=1)
        train(tmp_path / str(micro), prompts, observer, spec=options)
        losses[micro] = observer.points[0]
    assert losses[2].loss == pytest.approx(losses[None].loss, abs=1e-6)
    assert losses[2].metrics["entropy"] == pytest.approx(losses[None].metrics["entropy"], rel=1e-5)


class Failing(base.TextJudge):
    """A judge that fails on all answers."""

    name, version = "regex", "1"

    def judge(self, item: Any, text: str) -> base.TextVerdict:
        raise base.JudgeError("it cannot say")


def failing(max_error_rate: float) -> TrainSpec:
    judge = {"name": "regex", "regex": {"pattern": "a"}, "max_error_rate": max_error_rate}
    return spec(rewards=[{"judge": judge}])


def test_a_step_without_a_group_keeps_its_number_and_changes_nothing(
    prompts: list[Trace], tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr("training.rollouts.rewards.make_judge", lambda _: Failing())
    observer = Recorder()
    train(tmp_path, prompts, observer, spec=failing(1.0))
    assert observer.committed == [1, 2, 3, 4]
    assert [point.step for point in observer.points] == [1, 2, 3, 4]
    assert observer.points[-1].metrics["groups_dropped"] == 2
    assert observer.points[-1].metrics["reward_errors"] == 6
    first, last = certificates(tmp_path)
    assert (first.parameters, first.optimizer) == (last.parameters, last.optimizer)
    with pytest.raises(TooManyJudgeErrorsError, match="6 of 6 verdicts of the reward regex"):
        train(tmp_path / "strict", prompts, Recorder(), spec=failing(0.5))


def test_preflight_stops_a_reward_that_worthless_answers_earn(
    prompts: list[Trace], tmp_path: Path
) -> None:
    judge = {"name": "contains"}
    hackable = spec(
        rewards=[{"judge": judge}], length=None, preflight={"mode": "require", "prompts": 2}
    )
    with pytest.raises(PreflightError, match="'candidates' get the reward 1") as caught:
        train(tmp_path, prompts, Recorder(), spec=hackable)
    assert "min_signal" in str(caught.value)
    kinds = {rollout.adversarial for rollout in rollouts(tmp_path, 0)}
    assert kinds == {None, "empty", "prompt", "marker", "long", "candidates"}


def test_prompts_without_answers_train_a_preset_and_groups_without_spread_are_sampled_again(
    tmp_path: Path, monkeypatch: Any
) -> None:
    records = [
        PromptRecord([Message(Role.USER, f"Say {word}")], id=word) for word in ("ab", "cd", "ef")
    ]
    sampled: list[range] = []
    sample = Sampler.sample

    def counted(self: Sampler, values: Any, prompts: Any, step: int, samples: range) -> Any:
        sampled.append(samples)
        return sample(self, values, prompts, step, samples)

    monkeypatch.setattr(Sampler, "sample", counted)
    never = [{"judge": {"name": "regex", "regex": {"pattern": "never"}}}]
    options = dataclasses.replace(spec(rewards=never, length=None, resample=1), max_steps=1)
    observer = Recorder()
    run_training(NANO, options, records, TrainingPaths.in_folder(tmp_path), observer)
    assert sampled == [range(3), range(3, 6)]
    assert {answer.sample for answer in rollouts(tmp_path, 1)} == {3, 4, 5}
    assert observer.points[0].metrics["groups_flat"] == 2


def test_records_that_ask_nothing_are_refused_with_the_reason() -> None:
    bad = [FeedbackRecord(f"Say {word}", word, label=False, id=word) for word in ("ab", "cd")]
    with pytest.raises(DataError, match=r"none of 2 prompts asks anything: .* bad feedback"):
        prepare(NANO, spec(), bad)
