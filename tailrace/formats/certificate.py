"""Resume certificates: what a training's state was at a step, and under which conditions.

Two trainings of the same identity, on the same hardware and versions, have equal digests at equal
steps, however often either of them was interrupted. A certificate is a line of
``certificates.jsonl`` beside the metrics, and ``certificate.json`` in a checkpoint.
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
"""File name beside ``metrics.jsonl``: one certificate for each saved step and the last one."""

PARTS = ("parameters", "optimizer", "rng", "cursor")
"""What a digest is of, in the order in which differences are told."""

_SHA256 = r"[0-9a-f]{64}"


@dataclass(frozen=True)
class Certificate:
    """The digests of a training's state after a step."""

    step: int = key("Optimizer steps done.", minimum=0)
    parameters: str = key("sha256 over the trained parameters.", pattern=_SHA256)
    optimizer: str = key(
        "sha256 over the optimizer's state and the best weights, where they are kept.",
        pattern=_SHA256,
    )
    rng: str = key("sha256 of the root key of the random numbers.", pattern=_SHA256)
    cursor: str = key("sha256 of the data position and the loop's counters.", pattern=_SHA256)
    identity: dict[str, str] = key(
        "What makes it the same training, by dotted name: settings, dataset, model.", default={}
    )
    conditions: dict[str, str] = key(
        "What equal digests depend on beside it: hardware, mesh, versions.", default={}
    )

    @property
    def digest(self) -> str:
        """One sha256 over the step and all parts."""
        return sha256_json({name: getattr(self, name) for name in ("step", *PARTS)})


class Finding(enum.StrEnum):
    """What a comparison of two trainings found."""

    EQUAL = "equal"
    """Every step that both have a certificate of is equal."""
    OTHER_TRAINING = "other_training"
    """They differ, and so do their settings, data or model: nothing else was to be expected."""
    OTHER_CONDITIONS = "other_conditions"
    """They differ, and so do hardware, mesh or versions, which rounding depends on."""
    NOT_REPRODUCED = "not_reproduced"
    """They differ though all is the same: a fault, or a certificate of another process."""
    NO_COMMON_STEP = "no_common_step"
    """There is no step that both have a certificate of."""


@dataclass(frozen=True)
class Comparison:
    """Two trainings, held against each other."""

    finding: Finding
    """What was found."""
    steps: list[int]
    """The steps that were compared, in order."""
    first_difference: int | None
    """The first step at which they differ."""
    parts: list[str]
    """Which of :data:`PARTS` differ there."""
    identity: list[str]
    """What differs of the identity, as ``name: ours | theirs``; ``-`` stands for nothing."""
    conditions: list[str]
    """What differs of the conditions, in the same form."""


def compare(ours: Iterable[Certificate], theirs: Iterable[Certificate]) -> Comparison:
    """Hold the certificates of two trainings against each other, step by step."""
    left, right = ({one.step: one for one in each} for each in (ours, theirs))
    steps = sorted(left.keys() & right.keys())
    differing = [step for step in steps if left[step].digest != right[step].digest]
    shown = differing[0] if differing else steps[-1] if steps else None
    pair = (left[shown], right[shown]) if shown is not None else (_last(left), _last(right))
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
    """The steps that several attempts of one run certify differently, in order."""
    seen: dict[int, set[str]] = {}
    for one in certificates:
        seen.setdefault(one.step, set()).add(one.digest)
    return sorted(step for step, digests in seen.items() if len(digests) > 1)


def read_certificates(text: str, path: str) -> list[Certificate]:
    """The certificates of a file, one a line; ``path`` is for messages.

    Raises :class:`ValueError` for a line that is none.
    """
    found: list[Certificate] = []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            found.append(parse(Certificate, json.loads(line)))
        except ValueError as error:
            raise ValueError(f"{path}:{number} is no certificate: {error}") from error
    return found


def flatten(value: Mapping[str, object], prefix: str = "") -> dict[str, str]:
    """Nested settings by dotted name, the values as JSON text."""
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
