"""A stage process for tests: does what its run's labels say, over the real contract.

Label ``act``: ``succeed``, ``crash``, ``error``, ``hang`` (deaf to SIGTERM and SIGUSR1), ``wait``
(until a signal), ``chatter`` (many lines), ``nothing`` (exit 0 without a result), ``garbage``,
``memory``, ``daemon`` (leaves a grandchild behind), ``environment`` (prints its own), ``input``
(prints what it reads).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tailrace.formats.data.prediction import FinishReason, ModelRole, Prediction
from tailrace.formats.results import InferResult, JudgeResult, TrainResult
from tailrace.formats.spec.run_spec import StageKind
from tailrace.formats.stage_protocol import (
    ArtifactKind,
    CheckpointEvent,
    ErrorEvent,
    Event,
    LogEvent,
    LogLevel,
    MetricEvent,
    OutputArtifact,
    PredictionEvent,
    ProgressEvent,
    ResultEvent,
    StageJob,
    StoppedEvent,
    decode_job,
    encode_event,
)


class Stop(BaseException):
    """A signal came."""

    def __init__(self, released: bool) -> None:
        self.released = released


def main() -> int:
    path = Path(sys.argv[1] if sys.argv[1] != "-" else input())
    os.chdir(path.parent)
    job = decode_job(path.read_text())
    with os.fdopen(int(sys.argv[-1]), "w", buffering=1) as events:

        def send(event: Event) -> None:
            events.write(encode_event(event) + "\n")

        act = job.spec.labels.get("act", "succeed")
        if act != "hang":
            signal.signal(signal.SIGTERM, _raise)
            signal.signal(signal.SIGUSR1, _raise)
        else:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            signal.signal(signal.SIGUSR1, signal.SIG_IGN)
        try:
            return _act(act, job, send)
        except Stop as stop:
            if stop.released:
                _checkpoint(job, send, 7)
            send(StoppedEvent(released=stop.released))
            return 0


def _raise(number: int, _: Any) -> None:
    raise Stop(number == signal.SIGUSR1)


def _act(act: str, job: StageJob, send: Any) -> int:
    print("hello from stdout", *_surroundings(act, job.spec.labels), sep="\n")  # noqa: T201
    send(LogEvent("ready", LogLevel.WARNING))
    send(ProgressEvent(1, 2, "steps"))
    Path(job.output_dir, "pid").write_text(str(os.getpid()))
    if act == "crash":
        print("about to crash", file=sys.stderr, flush=True)  # noqa: T201
        os._exit(3)
    if act == "memory":
        print("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes", flush=True)  # noqa: T201
        return 1
    if act == "error":
        send(ErrorEvent("OVERLONG", "3 examples are too long", retryable=False))
        return 1
    if act == "garbage":
        os.write(int(sys.argv[-1]), b"{not json\n")
        send(ResultEvent(train=_train()))
        return 0
    if act == "nothing":
        return 0
    if act in ("hang", "wait", "grow"):
        blocks = [bytes([i]) * (50 << 20) for i in range(20 if act == "grow" else 0)]
        send(LogEvent(f"{len(blocks)} taken"))
        time.sleep(600)
    if act == "daemon":
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
        send(LogEvent(f"grandchild {child.pid}"))
        time.sleep(600)
    if act == "chatter":
        for i in range(int(job.spec.labels["lines"])):
            print(f"line {i}")  # noqa: T201
    _succeed(job, send)
    return 0


def _surroundings(act: str, labels: dict[str, str]) -> list[str]:
    if act == "environment":
        return Path("/proc/self/environ").read_text().split("\0")
    if act == "read":
        return [f"read: {Path(labels['path']).read_text()}"]
    if act == "input":
        command = Path("/proc/self/cmdline").read_text().replace("\0", " ")
        return [f"input: {sys.stdin.read()}", f"command: {command}"]
    return []


def _succeed(job: StageJob, send: Any) -> None:
    output = Path(job.output_dir)
    if job.kind is StageKind.TRAIN:
        send(MetricEvent("loss", 1, 2.5, time.time()))
        _checkpoint(job, send, 5)
        (output / "final_model").mkdir()
        (output / "final_model/model.safetensors").write_bytes(b"weights")
        artifacts = [OutputArtifact(ArtifactKind.MODEL, "final_model")]
        send(ResultEvent(artifacts=artifacts, train=_train()))
    elif job.kind is StageKind.INFER:
        role, eos = ModelRole.TRAINED, FinishReason.EOS
        send(PredictionEvent(Prediction("eval_v1", "1", role, "1+1?", "2", eos, 3, 1)))
        send(ResultEvent(infer=InferResult(predictions=1)))
    else:
        send(ResultEvent(judge=JudgeResult()))


def _train() -> TrainResult:
    return TrainResult(
        steps=5, first_loss=2.5, last_loss=0.1, examples=9, held_out=0, parameters=1, tokens=9,
        seconds=0.1,
    )  # fmt: skip


def _checkpoint(job: StageJob, send: Any, step: int) -> None:
    folder = Path(job.output_dir, f"checkpoints/{step}")
    folder.mkdir(parents=True)
    (folder / "state.json").write_text(f'{{"step": {step}}}')
    send(CheckpointEvent(step, f"checkpoints/{step}"))


if __name__ == "__main__":
    sys.exit(main())
