"""The stage process as a worker runs it: a job file, a descriptor for events, signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import pytest

from tailrace.formats.data.golden import write_golden_v2
from tailrace.formats.schema import parse
from tailrace.formats.spec.run_spec import RunSpec, StageKind
from tailrace.formats.stage_protocol import (
    ArtifactKind,
    CheckpointEvent,
    ErrorEvent,
    Event,
    LogEvent,
    MetricEvent,
    PredictionEvent,
    ProgressEvent,
    ResultEvent,
    StageInputs,
    StageJob,
    StoppedEvent,
    VerdictEvent,
    decode_event,
    decode_job,
    encode_job,
)
from training.errors import CheckpointError, ConfigError
from training.stage.__main__ import describe_failure, execute
from training.stage.prewarm import Machine

ROOT = Path(__file__).parents[4]
SPEC: dict[str, Any] = {
    "model": {"preset": "gpt2-nano"},
    "dataset": "golden-v2",
    "train": {
        "eval_fraction": 0.2,
        "save_every_steps": 4,
        "steps_per_dispatch": 2,
        "log_every_steps": 2,
        "eval_every_steps": 6,
        "max_steps": 12,
        "batch_size": 4,
        "max_seq_length": 64,
        "learning_rate": 1e-3,
    },
    "infer": {"max_new_tokens": 8, "eval_sets": ["dataset:held_out"]},
    "judges": [{"name": "answer_correctness"}],
}


@dataclass
class Ended:
    """Outcome of a stage process."""

    status: int
    events: list[Event]
    stderr: str
    output: Path

    def of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def last(self) -> Any:
        return self.events[-1]


@dataclass
class Stages:
    """Starts stage processes in a folder."""

    root: Path
    cache: Path
    count: int = field(default=0)

    def run(
        self,
        kind: StageKind,
        *,
        spec: dict[str, Any] = SPEC,
        when: Callable[[Event], bool] | None = None,
        send: signal.Signals | None = None,
        waiting: bool = False,
        **inputs: str,
    ) -> Ended:
        """Run a job to its end; ``send`` a signal at the first event that ``when`` wants.

        A ``waiting`` process receives the job after its start.
        """
        self.count += 1
        output = self.root / f"{self.count}-{kind.value}"
        output.mkdir()
        job = StageJob(
            run="runs/r",
            stage=kind.value,
            attempt=1,
            kind=kind,
            spec=parse(RunSpec, spec),
            inputs=StageInputs(
                **{"dataset": str(self.root / "golden-v2" / "dataset.jsonl")} | inputs
            ),
            output_dir=str(output),
            threads=len(os.sched_getaffinity(0)),
            cache_dir=str(self.cache),
        )
        path = self.root / f"{self.count}.json"
        path.write_text(encode_job(job))
        events, process = self.wait_for(path) if waiting else launch(path)
        seen: list[Event] = []
        for line in events:
            seen.append(decode_event(line))
            if send is not None and when is not None and when(seen[-1]):
                process.send_signal(send)
                send = None
        _, stderr = process.communicate(timeout=60)
        return Ended(process.returncode, seen, stderr, output)

    def wait_for(self, job: Path) -> tuple[Iterator[str], subprocess.Popen[str]]:
        """Start a process that waits for its job, and send the job."""
        threads = str(len(os.sched_getaffinity(0)))
        settled = ["--threads", threads, "--cache-dir", str(self.cache)]
        events, process = launch("-", *settled)
        assert process.stdin is not None
        process.stdin.write(f"{job}\n")
        process.stdin.flush()
        return events, process


def launch(
    *job: str | Path, environment: dict[str, str] | None = None
) -> tuple[Iterator[str], subprocess.Popen[str]]:
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "training.stage", *map(str, job), "--events-fd", str(writing)],
        pass_fds=[writing],
        stdin=subprocess.PIPE,
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
    )
    os.close(writing)
    return os.fdopen(reading), process


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory, compilation_cache: Path) -> Stages:
    root = tmp_path_factory.mktemp("stages")
    write_golden_v2(root)
    return Stages(root, compilation_cache)


@pytest.fixture(scope="module")
def trained(stages: Stages) -> Ended:
    ended = stages.run(StageKind.TRAIN)
    assert ended.status == 0, ended.stderr
    return ended


def test_train(trained: Ended) -> None:
    assert isinstance(trained.last, ResultEvent)
    artifacts = {artifact.kind: artifact.path for artifact in trained.last.artifacts}
    assert artifacts == {
        ArtifactKind.MODEL: "final_model",
        ArtifactKind.SPLIT: "split",
        ArtifactKind.METRICS: "metrics",
    }
    assert all((trained.output / path).is_dir() for path in artifacts.values())
    assert [e.step for e in trained.of(MetricEvent) if e.name == "loss"] == [1, 2, 4, 6, 8, 10, 12]
    losses = [e for e in trained.of(MetricEvent) if e.name == "eval_loss"]
    assert [e.step for e in losses] == [6, 12]
    assert trained.last.train.best_eval_loss == min(e.value for e in losses)
    assert [e.step for e in trained.of(CheckpointEvent)] == [4, 8, 12]
    assert [e.done for e in trained.of(ProgressEvent)] == [0, 2, 4, 6, 8, 10, 12]
    assert any("82 examples (13 prompts held out)" in e.text for e in trained.of(LogEvent))
    assert trained.last.train.steps == 12
    assert len(trained.of(ResultEvent)) == 1


def test_a_process_that_waited_trains_the_same(stages: Stages, trained: Ended) -> None:
    ended = stages.run(StageKind.TRAIN, waiting=True)
    assert ended.status == 0, ended.stderr
    assert ended.last.train.model_digest == trained.last.train.model_digest


def test_a_process_that_waits_has_no_backend_and_ends_with_its_standard_input() -> None:
    code = (
        "import sys; from training.stage.prewarm import Machine, await_job; "
        "print(await_job(Machine(1, None)), "
        "sys.modules['jax._src.xla_bridge'].backends_are_initialized(), "
        "{'training.loop.trainer', 'training.generate'} <= set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input="", capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout == "None False True\n"


def test_a_job_for_other_threads_is_refused(stages: Stages, trained: Ended) -> None:
    job = decode_job((stages.root / "1.json").read_text())
    other = replace(Machine.of(job), threads=1000)
    with pytest.raises(ConfigError, match=r"prepared for .*threads=1000"):
        execute(job, cast("Any", None), cast("Any", None), other)


def test_released_killed_and_continued_equals_undisturbed(stages: Stages, trained: Ended) -> None:
    released = stages.run(
        StageKind.TRAIN,
        send=signal.SIGUSR1,
        when=lambda event: isinstance(event, ProgressEvent) and event.done == 2,
    )
    assert (released.status, released.last) == (0, StoppedEvent(released=True))
    first = released.of(CheckpointEvent)[-1]
    assert 2 <= first.step < 8
    killed = stages.run(
        StageKind.TRAIN,
        send=signal.SIGKILL,
        when=lambda event: isinstance(event, CheckpointEvent),
        checkpoint=str(released.output / first.path),
    )
    assert killed.status == -signal.SIGKILL
    second = killed.of(CheckpointEvent)[0]
    assert first.step < second.step
    ended = stages.run(StageKind.TRAIN, checkpoint=str(killed.output / second.path))
    assert ended.status == 0, ended.stderr
    assert ended.last.train.resumed_from_step == second.step
    assert ended.last.train.last_loss == trained.last.train.last_loss
    assert ended.last.train.model_digest == trained.last.train.model_digest


def test_cancelled_while_it_starts(stages: Stages) -> None:
    ended = stages.run(StageKind.TRAIN, send=signal.SIGTERM, when=lambda _: True)
    assert (ended.status, ended.last) == (0, StoppedEvent(released=False))
    assert not ended.of(CheckpointEvent)


def test_a_signal_before_the_handlers_stand_is_not_lost(stages: Stages, trained: Ended) -> None:
    # A module that the process imports first sends it the signal while nothing else is loaded.
    early = stages.root / "early"
    early.mkdir()
    (early / "sitecustomize.py").write_text(
        "import sys\n"
        "class Early:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'tailrace':\n"
        "            import os, signal\n"
        "            os.kill(os.getpid(), signal.SIGTERM)\n"
        "sys.meta_path.insert(0, Early())\n"
    )
    events, process = launch(stages.root / "1.json", environment={"PYTHONPATH": str(early)})
    assert [decode_event(line) for line in events] == [StoppedEvent(released=False)]
    process.communicate(timeout=60)
    assert process.returncode == 0


def test_infer_and_judge(stages: Stages, trained: Ended) -> None:
    split = str(trained.output / "split")
    inferred = stages.run(StageKind.INFER, model=str(trained.output / "final_model"), split=split)
    assert inferred.status == 0, inferred.stderr
    assert inferred.last.infer.predictions == len(inferred.of(PredictionEvent)) == 13
    folder = inferred.output / inferred.last.artifacts[0].path
    assert {f.name for f in folder.iterdir()} == {"predictions.jsonl", "eval_results.jsonl"}
    judged = stages.run(StageKind.JUDGE, predictions=str(folder), split=split)
    assert judged.status == 0, judged.stderr
    (score,) = judged.last.judge.scores
    assert (score.eval_set, score.total, score.errors) == ("dataset:held_out", 13, 0)
    assert len(judged.of(VerdictEvent)) == 13


def test_a_known_failure_has_its_reason_and_no_trace(stages: Stages) -> None:
    train = {**SPEC["train"], "max_seq_length": 16}
    ended = stages.run(StageKind.TRAIN, spec={**SPEC, "train": train})
    assert ended.status == 1
    assert isinstance(ended.last, ErrorEvent)
    assert (ended.last.reason, ended.last.retryable) == ("OVERLONG_EXAMPLES", False)
    assert "82 of 82 examples are longer than max_seq_length 16" in ended.last.message
    assert "Traceback" not in ended.stderr


def test_a_job_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "job.json"
    path.write_text(json.dumps({"kind": "fly"}))
    events, process = launch(path)
    (event,) = [decode_event(line) for line in events]
    process.communicate(timeout=60)
    assert process.returncode == 1
    assert isinstance(event, ErrorEvent)
    assert event.reason == "INVALID_JOB"
    assert "job.kind: must be one of train, infer, judge" in event.message


@pytest.mark.parametrize(
    ("error", "reason", "retryable"),
    [
        (CheckpointError("x"), "INVALID_CHECKPOINT", False),
        (MemoryError(), "OUT_OF_MEMORY", False),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating"), "OUT_OF_MEMORY", False),
        (OSError(28, "No space left on device"), "IO_ERROR", True),
        (KeyError("boom"), "INTERNAL", False),
    ],
)
def test_failures_are_described(error: Exception, reason: str, retryable: bool) -> None:
    event = describe_failure(error)
    assert (event.reason, event.retryable) == (reason, retryable)
    assert event.message
