"""``tailrace demo``: the main job end to end on this machine, up to a judged model."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.text import Text

from tailrace.access import PLAINTEXT
from tailrace.cli import exit_codes
from tailrace.cli.download import Part, download_run
from tailrace.cli.embedded.stack import TEND_SECONDS, Stack, stopping_signals
from tailrace.cli.follow import follow
from tailrace.cli.options import Json, Overrides
from tailrace.cli.show import output, run_view
from tailrace.cli.show.prediction_view import answer_text
from tailrace.cli.show.views import view_for
from tailrace.client.aio import AsyncClient
from tailrace.client.blocking import Client
from tailrace.formats.data import golden
from tailrace.formats.spec.run_spec import RunSpec
from tailrace.protomap import enum_word
from tailrace.spec import load_spec
from tailrace.v1 import evaluation_pb2, run_pb2

_EXAMPLES = 3
"""Number of examples per eval set."""


@dataclass(frozen=True)
class Example:
    """One prediction with its verdict."""

    eval_set: str
    prompt: str
    prediction: str
    expected: str
    outcome: str


def demo(
    data_dir: Annotated[
        Path | None,
        typer.Option(
            "--data-dir",
            metavar="FOLDER",
            help="Folder of the embedded stack (default: a temporary one).",
        ),
    ] = None,
    folder: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="FOLDER", help="Folder for the model and the result files."
        ),
    ] = Path("artifacts/demo"),
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Train, infer and judge a small model with an embedded stack: under two minutes on two cores.

    Starts broker, control plane and a CPU worker, seeds golden-v2, submits a run over gRPC, follows
    it, shows its scores, downloads the model, and stops the stack. Exits 0 only if the run
    succeeded.
    """
    out = output.console(stderr=as_json)
    with resources.as_file(resources.files("tailrace.cli") / "demo.yaml") as file:
        spec = load_spec(file, overrides=overrides or ())
    with stopping_signals(), _data_dir(data_dir) as stack_dir:
        out.print("starting broker, control plane and worker ...")
        with Stack(stack_dir, listen="127.0.0.1:0") as stack:
            try:
                for name in stack.drained:
                    out.print(f"{name} is drained and takes no stage until it is undrained")
                run = asyncio.run(_run_while_tending(stack, spec, out))
                with Client(stack.server, access=PLAINTEXT) as client:
                    _show(client, run, folder, out, as_json)
            finally:
                out.print(stack.farewell)
        code = exit_codes.of_run(run)
        if code != exit_codes.OK:
            raise typer.Exit(code)


@contextmanager
def _data_dir(data_dir: Path | None) -> Iterator[Path]:
    """Yield the stack's folder; a temporary one is removed unless its logs are needed."""
    if data_dir is not None:
        yield data_dir
        return
    folder = Path(tempfile.mkdtemp(prefix="tailrace-demo-"))
    try:
        yield folder
    except Exception:
        output.console(stderr=True).print(f"the demo's data and logs are kept in {folder}")
        raise
    except BaseException:
        # An interrupted demo leaves no data.
        shutil.rmtree(folder)
        raise
    shutil.rmtree(folder)


async def _run_while_tending(stack: Stack, spec: RunSpec, out: Console) -> run_pb2.Run:
    """Return the run once it has ended.

    Raises:
        CommandError: The stack broke; raised at once.
    """
    run_task = asyncio.create_task(_submit_and_follow(stack.server, spec, out))
    tend_task = asyncio.create_task(_tend(stack, out))
    try:
        await asyncio.wait((run_task, tend_task), return_when=asyncio.FIRST_COMPLETED)
        if tend_task.done():
            tend_task.result()
        return await run_task
    finally:
        for task in (run_task, tend_task):
            task.cancel()
        await asyncio.gather(run_task, tend_task, return_exceptions=True)


async def _tend(stack: Stack, out: Console) -> NoReturn:
    while True:
        for message in stack.tend():
            out.print(output.printable(message), soft_wrap=True)
        await asyncio.sleep(TEND_SECONDS)


async def _submit_and_follow(server: str, spec: RunSpec, out: Console) -> run_pb2.Run:
    async with AsyncClient(server, access=PLAINTEXT) as client:
        dataset = await client.seed_dataset(golden.NAME)
        out.print(f"{dataset.name}: {dataset.line_count} traces")
        run = await client.create_run(spec)
        out.print(f"{run.name} accepted by {server}")
        with view_for(out) as view:
            return await follow(client, run.name, view)


def _show(client: Client, run: run_pb2.Run, folder: Path, out: Console, as_json: bool) -> None:
    succeeded = run.state == run_pb2.RUN_STATE_SUCCEEDED
    parts = download_run(client, run.name, folder) if succeeded else {}
    examples = _examples(client, run)
    if as_json:
        files = {part.value: str(path) for part, path in parts.items()}
        records = [vars(example) for example in examples]
        output.print_json({"run": output.plain(run), "examples": records, "files": files})
        return
    out.print()
    run_view.print_run(run)
    for example in examples:
        _print_example(out, example)
    if parts:
        out.print()
        output.print_fields([("model", parts[Part.MODEL].resolve()), ("results", folder.resolve())])


def _examples(client: Client, run: run_pb2.Run) -> list[Example]:
    """Return some predictions of each eval set with their verdicts."""
    examples = []
    for eval_set in run.resolved_spec.infer.eval_sets:
        verdicts = {v.example_id: v for v in client.list_verdicts(run.name, eval_set=eval_set)}
        predictions = list(client.list_predictions(run.name, eval_set=eval_set))
        # Spread over the set: its items follow the dataset, which is sorted by kind.
        for prediction in predictions[:: len(predictions) // _EXAMPLES or 1][:_EXAMPLES]:
            verdict = verdicts.get(prediction.example_id)
            if verdict is not None:
                examples.append(_example(prediction, verdict))
    return examples


def _example(prediction: evaluation_pb2.Prediction, verdict: evaluation_pb2.Verdict) -> Example:
    return Example(
        eval_set=prediction.eval_set,
        prompt=prediction.prompt,
        prediction=answer_text(prediction) or prediction.error,
        expected=verdict.expected,
        outcome=enum_word(evaluation_pb2.Outcome.DESCRIPTOR, verdict.outcome),
    )


def _print_example(out: Console, example: Example) -> None:
    colour = {"pass": "green", "fail": "red"}.get(example.outcome, "yellow")
    out.print()
    out.print(
        Text.assemble((example.outcome.upper(), colour), f"  {example.eval_set}"), soft_wrap=True
    )
    lines = [
        ("prompt", example.prompt),
        ("prediction", example.prediction),
        ("expected", example.expected),
    ]
    for name, text in lines:
        out.print(f"  {name + ':':<12}{output.cell(text)}", soft_wrap=True)
