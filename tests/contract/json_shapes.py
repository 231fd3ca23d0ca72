"""The documents of ``--json``: each command runs in this process, against a server.

The server answers every call with a message in which every field is set. Where a document is a
message its name stands for it; the fields are in ``protos.txt``.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import Descriptor

from tailrace.formats.data.jsonl import dump_record
from tailrace.formats.data.prediction import FinishReason
from tailrace.formats.data.rollout import RewardPart, Rollout, rollouts_file
from tailrace.profiles import Profile, Profiles
from tailrace.protomap import to_mapping
from tailrace.v1 import artifact_pb2, evaluation_pb2, run_pb2
from tests import model_folder
from tests.contract.command_line import commands, run_command
from tests.contract.protos import proto_files
from tests.unit.tailrace.cli.hostile_plane import hostile_message, hostile_plane
from tests.unit.tailrace.twin import ControlPlaneTwin

PROMPT = "What is the sum of 17 and 25, written in digits?"
STEP = {"i": 0, "type": "calculation", "content": "17 + 25 = 42"}
SECTIONS = {"category": "c", "difficulty": "d", "section": "s"}
FILES = {
    "spec.yaml": "dataset: d\nmodel: {preset: gpt2-nano}\ntrain: {max_steps: 9}\n",
    "traces.jsonl": json.dumps({"prompt": PROMPT, "answer": "42", "steps": [STEP]}) + "\n",
    "prompts.jsonl": "".join(json.dumps({"prompt": name}) + "\n" for name in ("a", "b", "b")),
    "items.jsonl": "".join(
        json.dumps({"id": name, "prompt": PROMPT, "expected_answer": "1"} | SECTIONS) + "\n"
        for name in ("a", "b")
    ),
}
ARGUMENTS = {
    "runs create": "-f spec.yaml",
    "runs judge": "r --judge contains",
    "runs get": "r",
    "runs list": "",
    "runs watch": "r",
    "runs follow": "r",
    "runs metrics": "r",
    "runs predictions": "r",
    "runs verdicts": "r",
    "runs retry": "r",
    "runs cancel": "r",
    "runs compare": "a b",
    "runs report": "r -o r.html",
    "datasets seed": "golden-v2",
    "datasets import": "traces.jsonl --id d",
    "datasets convert": "traces.jsonl -o lines.jsonl",
    "datasets list": "",
    "datasets get": "d",
    "datasets head": "traces.jsonl",
    "datasets stats": "traces.jsonl --against items.jsonl",
    "datasets split": "prompts.jsonl --eval-fraction 0.5 -o parts",
    "evalsets validate": "items.jsonl --against traces.jsonl",
    "evalsets import": "items.jsonl --id d",
    "evalsets list": "",
    "models import": "model",
    "models list": "",
    "models get": "m",
    "models promote": "r m",
    "models alias": "m prod 1",
    "models lineage": "m",
    "baselines set": "main r",
    "baselines get": "main",
    "baselines list": "",
    "workers list": "",
    "workers get": "w",
    "workers drain": "w",
    "workers undrain": "w",
    "workers revoke-certificate": "w",
    "pools list": "",
    "quotas get": "",
    "quotas set": "default running_runs=4",
    "usage": "",
    "profiles list": "",
    "projects create": "p",
    "projects list": "",
    "tokens create": "",
    "tokens list": "",
    "tokens revoke": "t",
    "audit list": "",
    "audit verify": "",
    "audit export": "-o audit.jsonl",
}
CONTENT = {
    "runs logs": "r",
    "runs download": "r -o out",
    "runs rollouts": "r",
    "runs verify": "r",
    "models download": "m -o out",
    "datasets derive": "--from r --id d",
}
"""Commands that need more than answers: the content that the answers promise."""

UNSEEN = ("demo", "datasets preview", "models chat")
"""Commands that need a whole stack, or a model; their output is in tests of their own."""

Shape = Any
"""A document in which each scalar is the name of its type."""


def text() -> str:
    """Return the shape of each command's output."""
    names = _message_names()
    lines = []
    with _inputs(), hostile_plane() as full, _plane_with_content() as sparse:
        for words, command in commands():
            name = words.removeprefix("tailrace ")
            if name in UNSEEN or not _has(command, "--json"):
                continue
            address = sparse if name in CONTENT else full
            output = _run(name, ARGUMENTS | CONTENT, _has(command, "--server"), address)
            shapes = {_written(_shape(document), names) for document in _documents(output)}
            lines.append(f"{name}: {' | '.join(sorted(shapes))}")
        output = _run("runs verify", {"runs verify": "r s"}, True, sparse)
        lines.append(f"runs verify of two: {_written(_shape(json.loads(output)), names)}")
    return "\n".join(lines) + "\n"


def _has(command: Any, option: str) -> bool:
    return any(option in parameter.opts for parameter in command.params)


@contextlib.contextmanager
def _plane_with_content() -> Iterator[str]:
    """Serve runs with log lines and files."""
    plane = ControlPlaneTwin()
    digits = dict.fromkeys(("parameters", "optimizer", "rng", "cursor"), "0" * 64)
    facts = {"identity": {"train.seed": "1"}, "conditions": {"device": "cpu"}}
    certificate = json.dumps({"step": 1, **digits, **facts}) + "\n"
    files = {"certificates.jsonl": certificate.encode(), "metrics.jsonl": b""}
    _judge(plane)
    plane.models.add("m", {"config.json": b"{}"})
    for run in ("runs/r", "runs/s"):
        plane.artifacts.add(artifact_pb2.ARTIFACT_KIND_METRICS, files, run=run)
    plane.artifacts.add(artifact_pb2.ARTIFACT_KIND_ROLLOUTS, _rollouts(), run="runs/r")
    try:
        yield plane.address
    finally:
        plane.kill()


def _rollouts() -> dict[str, bytes]:
    """Return the file of a rollout in which every key is set."""
    part = RewardPart("regex", 1.0, 1.0, "it matches")
    rollout = Rollout(1, 0, "t1", 0, "p", "t", FinishReason.EOS, [5], [-0.5], [part], 1.0, 0.5)
    line = dump_record(dataclasses.replace(rollout, adversarial="empty"))
    return {rollouts_file(1): gzip.compress(line.encode())}


def _judge(plane: ControlPlaneTwin) -> None:
    """Give run ``r`` a prediction that passed."""
    run = run_pb2.Run(name="runs/r", state=run_pb2.RUN_STATE_SUCCEEDED)
    run.resolved_spec.judges.add(name="contains")
    plane.runs.runs[run.name] = run
    key = {"eval_set": "eval_v1", "model_role": evaluation_pb2.MODEL_ROLE_TRAINED}
    plane.runs.predictions = [evaluation_pb2.Prediction(prompt="p", text="t", **key)]
    outcome = evaluation_pb2.OUTCOME_PASS
    plane.runs.verdicts = [evaluation_pb2.Verdict(outcome=outcome, version="1", **key)]


@contextlib.contextmanager
def _inputs() -> Iterator[None]:
    """Work in a folder that has the files which commands read."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for name, content in FILES.items():
            Path(name).write_text(content, encoding="utf-8")
        model_folder.write(Path("model"))
        # Uploads keep their state below the first.
        with _variables(XDG_STATE_HOME=folder, XDG_CONFIG_HOME=folder):
            Profiles().with_profile("p", Profile("plane:7443")).save()
            yield


@contextlib.contextmanager
def _variables(**values: str) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _run(name: str, arguments: dict[str, str], has_server: bool, address: str) -> str:
    """Return what a command prints with ``--json``."""
    server = ["--server", address] if has_server else []
    result = run_command(*name.split(), *arguments[name].split(), *server, "--json")
    # A run that this server makes up has not succeeded: the exit code tells nothing.
    if not result.out:
        raise RuntimeError(f"{name}: {result.err}")
    return result.out


def _documents(output: str) -> list[Any]:
    try:
        return [json.loads(output)]
    except json.JSONDecodeError:
        return [json.loads(line) for line in output.splitlines()]


def _shape(value: Any) -> Shape:
    if isinstance(value, dict):
        return {key: _shape(part) for key, part in sorted(value.items())}
    if isinstance(value, list):
        shapes = {json.dumps(_shape(part)): _shape(part) for part in value}
        return [shapes[key] for key in sorted(shapes)]
    return {str: "text", bool: "boolean", int: "number", float: "number"}.get(type(value), "null")


def _written(shape: Shape, names: dict[str, str]) -> str:
    """Return a shape as text, with the names of messages in place of their fields."""
    if isinstance(shape, str):
        return shape
    if isinstance(shape, list):
        return f"[{' | '.join(_written(part, names) for part in shape)}]"
    name = names.get(json.dumps(shape))
    if name:
        return name
    fields = (f"{key}: {_written(part, names)}" for key, part in shape.items())
    return "{" + ", ".join(fields) + "}"


def _message_names() -> dict[str, str]:
    """Return the names of the package's messages by the shape of their documents."""
    names: dict[str, str] = {}
    for message in _messages():
        document = to_mapping(hostile_message(message), defaults=True)
        key = json.dumps(_shape(document))
        names[key] = f"{names[key]} = {message.full_name}" if key in names else message.full_name
    return names


def _messages() -> Iterator[Descriptor]:
    for file in proto_files():
        for message in file.message_types_by_name.values():
            if message.fields and not message.name.endswith("Request"):
                yield message
