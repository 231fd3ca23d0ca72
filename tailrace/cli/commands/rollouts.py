"""``tailrace runs rollouts``: answers that a training sampled, with their rewards."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer

from tailrace.cli.options import Json, Limit, RunName, Server, connect
from tailrace.cli.show import output
from tailrace.client.rollouts import run_rollouts
from tailrace.formats.data.rollout import Rollout
from tailrace.formats.schema import to_mapping


def rollouts(
    run: RunName,
    step: Annotated[
        int | None,
        typer.Option(
            "--step", metavar="STEP", min=0, help="Only this step; 0 has those of the pre-flight."
        ),
    ] = None,
    limit: Limit = None,
    server: Server = None,
    as_json: Json = False,
) -> None:
    """List the answers that a training sampled, with their rewards; JSON is one line per answer.

    Answers of a distillation have no rewards.
    """
    with connect(server) as client:
        answers = islice(run_rollouts(client, run, step), limit)
        if as_json:
            for answer in answers:
                output.print_json_line(to_mapping(answer))
            return
        rows = [_row(answer) for answer in answers]
    if not rows:
        of = "" if step is None else f" of step {step}"
        note = (
            f"{run} has no answers{of}: a training with train.grpo or train.distill.on_policy "
            "stores them at each step"
        )
        output.console(stderr=True).print(output.one_line(note), soft_wrap=True)
    heads = ["STEP", "PROMPT", "SAMPLE", "REWARD", "ADVANTAGE", "PARTS", "ANSWER"]
    output.print_table(heads, rows, text=("PARTS", "ANSWER"), keys=("PROMPT",))


def _row(answer: Rollout) -> tuple[str, ...]:
    parts = " ".join(f"{part.name}={_figure(part.score, 'error')}" for part in answer.parts)
    return (
        str(answer.step),
        answer.example_id,
        answer.adversarial or str(answer.sample),
        _figure(answer.reward, "none" if answer.parts else ""),
        _figure(answer.advantage, "none" if answer.parts else ""),
        parts,
        answer.text,
    )


def _figure(value: float | None, missing: str) -> str:
    return missing if value is None else f"{value:.3g}"
