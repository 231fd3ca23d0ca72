"""Resume certificates: digests of a training's state at a step, and the conditions it ran under.

Two trainings of the same identity, on the same hardware and versions, have equal digests at equal
steps, however often either was interrupted. A certificate is a line of ``certificates.jsonl`` next
to the metrics, and ``certificate.json`` in a checkpoint.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from tailrace.formats.canonical import sha256_json
from tailrace.formats.schema import key, parse

CERTIFICATE = "certificate.json"
"""File name in a checkpoint folder."""

CERTIFICATES = "certificates.jsonl"
"""File next to ``metrics.jsonl`` with the certificates of each saved step and of the last step."""

PARTS = ("parameters", "optimizer", "rng", "cursor")
"""Parts of the state with a digest each, in the order in which differences are reported."""

_SHA256 = r"[0-9a-f]{64}"


@dataclass(frozen=True)
class Certificate:
    """Digests of a training's state after a step."""

    step: int = key("Optimizer steps done.", minimum=0)
    parameters: str = key("sha256 over the trained parameters.", pattern=_SHA256)
    optimizer: str = key(
        "sha256 over the optimizer's state and, where they are stored, the best weights.",
        pattern=_SHA256,
    )
    rng: str = key("sha256 of the root key of the random numbers.", pattern=_SHA256)
    cursor: str = key("sha256 of the data position and the loop's counters.", pattern=_SHA256)
    identity: dict[str, str] = key(
        "Identity of the training by dotted name: settings, dataset, model.", default={}
    )
    conditions: dict[str, str] = key(
        "Conditions on which equal digests also depend: hardware, mesh, versions.", default={}
    )

    @property
    def digest(self) -> str:
        """Hex sha256 over the step and all parts."""
        return sha256_json({name: getattr(self, name) for name in ("step", *PARTS)})


class Finding(enum.StrEnum):
    """Finding of a comparison of two trainings."""

    EQUAL = "equal"
    """All steps with a certificate in both are equal."""
    OTHER_TRAINING = "other_training"
    """They differ, and so do their settings, data or model: a difference was to be expected."""
    OTHER_CONDITIONS = "other_conditions"
    """They differ, and so do hardware, mesh or versions, on which rounding depends."""
    NOT_REPRODUCED = "not_reproduced"
    """They differ under equal conditions: a fault, or a certificate of another process."""
    NO_COMMON_STEP = "no_common_step"
    """No step has a certificate in both."""


@dataclass(frozen=True)
class Comparison:
    """Outcome of a comparison of two trainings, step by step."""

    finding: Finding
    """The finding."""
    steps: list[int]
    """Compared steps in ascending order."""
    first_difference: int | None
    """First step at which they differ; ``None`` if there is none."""
    parts: list[str]
    """Members of :data:`PARTS` that differ at that step."""
    identity: list[str]
    """Differences of the identity, as ``name: ours | theirs``; ``-`` stands for a missing value."""
    conditions: list[str]
    """Differences of the conditions, in the same form."""


def compare(ours: Iterable[Certificate], theirs: Iterable[Certificate]) -> Comparison:
    """Compare the certificates of two trainings step by step."""
    left, right = ({one.step: one for one in side} for side in (ours, theirs))
    steps = sorted(left.keys() & right.keys())
    differing = [step for step in steps if left[step].digest != right[step].digest]
    step = differing[0] if differing else steps[-1] if steps else None
    pair = (left[step], right[step]) if step is not None else (_last(left), _last(right))
    identity = _differences(*(one.identity if one else {} for one in pair))
    conditions = _differences(*(one.conditions if one else {} for one in pair))
    parts: list[str] = []
    if differing:
        first, second = left[differing[0]], right[differing[0]]
        parts = [name for name in PARTS if getattr(first, name) != getattr(second, name)]
    return Comparison(
        finding=_finding(steps, differing, identity, conditions),
        steps=steps,
        first_difference=differing[0] if differing else None,
        parts=parts,
        identity=identity,
        conditions=conditions,
    )


def contradictions(certificates: Iterable[Certificate]) -> list[int]:
    """Return the steps that several attempts of one run certify differently, in order."""
    seen: dict[int, set[str]] = {}
    for one in certificates:
        seen.setdefault(one.step, set()).add(one.digest)
    return sorted(step for step, digests in seen.items() if len(digests) > 1)


def read_certificates(text: str, path: str) -> list[Certificate]:
    """Return the certificates of a file with one per line; ``path`` is its name in messages.

    Raises:
        ValueError: A line is not a certificate.
    """
    certificates: list[Certificate] = []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            certificates.append(parse(Certificate, json.loads(line)))
        except ValueError as error:
            raise ValueError(f"{path}:{number} is not a certificate: {error}") from error
    return certificates


def flatten(value: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Return nested settings by dotted name, with values as JSON text."""
    flat: dict[str, str] = {}
    for name, inner in sorted(value.items()):
        if isinstance(inner, Mapping):
            flat.update(flatten(inner, f"{prefix}{name}."))
        else:
            text = inner if isinstance(inner, str) else json.dumps(inner, sort_keys=True)
            flat[f"{prefix}{name}"] = text
    return flat


def _finding(
    steps: list[int], differing: list[int], identity: list[str], conditions: list[str]
) -> Finding:
    if not steps:
        return Finding.NO_COMMON_STEP
    if not differing:
        return Finding.EQUAL
    if identity:
        return Finding.OTHER_TRAINING
    return Finding.OTHER_CONDITIONS if conditions else Finding.NOT_REPRODUCED


def _last(certificates: Mapping[int, Certificate]) -> Certificate | None:
    return certificates[max(certificates)] if certificates else None


def _differences(ours: Mapping[str, str], theirs: Mapping[str, str]) -> list[str]:
    return [
        f"{name}: {ours.get(name, '-')} | {theirs.get(name, '-')}"
        for name in sorted({*ours, *theirs})
        if ours.get(name) != theirs.get(name)
    ]
