"""What a stage's result depends on, as one digest: equal keys give equal results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tailrace.formats.canonical import sha256_json
from tailrace.formats.catalog import EVAL_SETS, STAGE_VERSIONS
from tailrace.formats.spec.run_spec import StageKind

_BESIDE = ("save_every_steps", "keep_checkpoints")
"""Keys of a train block that change when something is kept, not what comes out."""


def cache_key(
    kind: StageKind,
    spec: Mapping[str, Any],
    inputs: Iterable[tuple[str, str]],
    judges: Mapping[str, str],
) -> str:
    """The key of a stage.

    Args:
        kind: What it does.
        spec: The run's resolved spec. Where and how often a stage may run is no part of the key,
            nor are blocks that it does not read.
        inputs: What each artifact it reads is for, and its digest.
        judges: Versions of the run's judges by name; a JUDGE stage depends on them.
    """
    parts = {
        "kind": kind.value,
        "code": STAGE_VERSIONS[kind.value],
        "config": _CONFIG[kind](spec),
        "inputs": sorted(map(list, inputs)),
    }
    if kind is StageKind.JUDGE:
        parts["judges"] = dict(judges)
    return sha256_json(parts)


def _train(spec: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in spec["train"].items() if name not in _BESIDE}
    return {"model": _model(spec), "train": kept}


def _infer(spec: Mapping[str, Any]) -> dict[str, Any]:
    config = {"infer": spec["infer"], "trained": "train" in spec, "shipped": _shipped(spec)}
    if "train" not in spec or spec["infer"].get("include_base"):
        config["model"] = _model(spec)
    if spec["infer"].get("include_base"):
        # Random weights that training started from come out of its seed.
        config["seed"] = spec["train"]["seed"]
    return config


def _judge(spec: Mapping[str, Any]) -> dict[str, Any]:
    infer = spec["infer"]
    return {
        "judges": spec["judges"],
        "eval_sets": infer["eval_sets"],
        "shipped": _shipped(spec),
        "include_base": infer.get("include_base", False),
        "trained": "train" in spec,
    }


def _shipped(spec: Mapping[str, Any]) -> dict[str, str]:
    """The content of the eval sets that are no input because they ship with the workers."""
    return {name: EVAL_SETS[name] for name in spec["infer"]["eval_sets"] if name in EVAL_SETS}


def _model(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The model as named; an imported one is among the inputs, so its name is left out."""
    model = dict(spec["model"])
    if model.get("source", "").startswith("models/"):
        del model["source"]
    return model


_CONFIG = {StageKind.TRAIN: _train, StageKind.INFER: _infer, StageKind.JUDGE: _judge}
