"""``tailrace runs verify``: comparison of two trainings' states, step by step.

It reads only the small certificate files of a run's checkpoints and metrics.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tailrace.cli import exit_codes
from tailrace.cli.errors import CommandError
from tailrace.cli.show import output
from tailrace.cli.small_file import read_small_file
from tailrace.client.blocking import Client
from tailrace.formats.certificate import (
    CERTIFICATE,
    CERTIFICATES,
    Certificate,
    Comparison,
    Finding,
    compare,
    contradictions,
    read_certificates,
)
from tailrace.v1 import artifact_pb2

_MEANING = {
    Finding.EQUAL: "equal at every common step",
    Finding.OTHER_TRAINING: "they are different trainings: settings, dataset or model differ",
    Finding.OTHER_CONDITIONS: (
        "the same training under other conditions: equal states are promised for the same "
        "hardware, mesh and versions only"
    ),
    Finding.NOT_REPRODUCED: (
        "NOT REPRODUCED: training, hardware and versions are the same, the states are not"
    ),
    Finding.NO_COMMON_STEP: "the runs have no certificate of a common step",
}


@dataclass(frozen=True)
class Issued:
    """A certificate and the attempt that issued it."""

    attempt: int
    """Number of the attempt that reached the step."""
    certificate: Certificate
    """Certificate of the training state after the step."""


def issued_certificates(client: Client, run: str) -> list[Issued]:
    """Return the distinct certificates of a run, ordered by step and attempt.

    Raises:
        CommandError: The run has no certificates, or a file does not hold certificates.
        TailraceError: A call failed.
        OSError: A temporary file cannot be written.
    """
    issued: dict[tuple[int, int, str], Issued] = {}
    for artifact in client.list_artifacts(run):
        for file in artifact.files:
            if Path(file.path).name in (CERTIFICATE, CERTIFICATES):
                for certificate in _fetch(client, run, file):
                    place = (certificate.step, artifact.attempt, certificate.digest)
                    issued[place] = Issued(artifact.attempt, certificate)
    if not issued:
        raise CommandError(
            f"{run} has no certificates: it has no TRAIN stage, or that has saved nothing yet",
            exit_codes.NOT_FOUND,
        )
    return [issued[place] for place in sorted(issued)]


def verify(client: Client, run: str, other: str | None, *, as_json: bool) -> int:
    """Show a run's certificates, or compare them with another run's; return the exit code.

    Errors as :func:`issued_certificates`.
    """
    ours = issued_certificates(client, run)
    steps = contradictions(issued.certificate for issued in ours)
    if other is None:
        _show_certificates(ours, steps, as_json=as_json)
        return exit_codes.DIFFERS if steps else exit_codes.OK
    theirs = issued_certificates(client, other)
    comparison = compare(
        [issued.certificate for issued in ours],
        [issued.certificate for issued in theirs],
    )
    steps += contradictions(issued.certificate for issued in theirs)
    _show_comparison(comparison, steps, as_json=as_json)
    equal = comparison.finding is Finding.EQUAL and not steps
    return exit_codes.OK if equal else exit_codes.DIFFERS


def _fetch(client: Client, run: str, file: artifact_pb2.ArtifactFile) -> Iterator[Certificate]:
    text = read_small_file(client, run, file)
    try:
        yield from read_certificates(text, f"{run}: {file.path}")
    except ValueError as error:
        raise CommandError(str(error)) from error


def _show_certificates(ours: list[Issued], steps: list[int], *, as_json: bool) -> None:
    if as_json:
        records = [_plain(issued) for issued in ours]
        output.print_json({"certificates": records, "contradictions": steps})
        return
    rows = [(issued.certificate.step, issued.attempt, issued.certificate.digest) for issued in ours]
    output.print_table(["STEP", "ATTEMPT", "DIGEST"], rows)
    last = ours[-1].certificate
    output.print_fields(sorted(last.conditions.items()))
    _show_contradictions(steps)


def _show_comparison(comparison: Comparison, steps: list[int], *, as_json: bool) -> None:
    if as_json:
        output.print_json({**vars(comparison), "contradictions": steps})
        return
    out = output.console()
    common_steps = f"{len(comparison.steps)} common steps"
    if comparison.steps:
        common_steps += f", {comparison.steps[0]} to {comparison.steps[-1]}"
    out.print(f"{_MEANING[comparison.finding]} ({common_steps})", soft_wrap=True)
    if comparison.first_difference is not None:
        parts = ", ".join(comparison.parts)
        step = comparison.first_difference
        out.print(f"first difference at step {step}: {parts}", soft_wrap=True)
    for line in (*comparison.identity, *comparison.conditions):
        out.print(f"  {output.one_line(line)}", soft_wrap=True)
    _show_contradictions(steps)


def _show_contradictions(steps: list[int]) -> None:
    if steps:
        numbers = ", ".join(map(str, steps))
        text = f"attempts of one run disagree at step {numbers}: see --json for their certificates"
        output.console().print(text, soft_wrap=True)


def _plain(issued: Issued) -> dict[str, Any]:
    certificate = issued.certificate
    return {"attempt": issued.attempt, "digest": certificate.digest, **vars(certificate)}
