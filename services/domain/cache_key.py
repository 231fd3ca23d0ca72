"""Cache keys: digests of all that a stage's result depends on; equal keys give equal results."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tailrace.formats.canonical import sha256_json
from tailrace.formats.catalog import CHAT_TEMPLATES, EVAL_SETS, STAGE_VERSIONS
from tailrace.formats.spec.run_spec import StageKind

_CHECKPOINT_KEYS = ("save_every_steps", "keep_checkpoints")
"""Keys of a train block that decide which checkpoints are kept, not what is trained."""


def cache_key(
    kind: StageKind,
    spec: Mapping[str, Any],
    inputs: Iterable[tuple[str, str]],
    judges: Mapping[str, str],
) -> str:
    """Return the key of a stage.

    Args:
        kind: The stage's kind.
        spec: The run's resolved spec. The key leaves out pools, limits and retries, and the blocks
            that the stage does not read.
        inputs: Role and digest of each artifact that the stage reads.
        judges: Versions of the judges that the stage asks, by name.
    """
    parts = {
        "kind": kind.value,
        "code": STAGE_VERSIONS[kind.value],
        "config": _CONFIG[kind](spec),
        "inputs": sorted(map(list, inputs)),
    }
    if judges:
        parts["judges"] = dict(judges)
    return sha256_json(parts)


def _train(spec: Mapping[str, Any]) -> dict[str, Any]:
    train = {name: value for name, value in spec["train"].items() if name not in _CHECKPOINT_KEYS}
    return {"model": _model(spec), "train": train}


def _infer(spec: Mapping[str, Any]) -> dict[str, Any]:
    config = {"infer": spec["infer"], "trained": "train" in spec, "shipped": _shipped(spec)}
    if "train" not in spec or spec["infer"].get("include_base"):
        config["model"] = _model(spec)
    chat = {
        "kwargs": spec.get("model", {}).get("chat_template_kwargs"),
        "allow_special_tokens": _sft(spec).get("allow_special_tokens"),
    }
    # A trained model's folder has its chat template, but not these settings.
    config |= {name: value for name, value in chat.items() if value}
    if spec["infer"].get("include_base"):
        # The random weights that training started from depend on its seed.
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
    """Return the digests of eval sets that ship with the workers instead of being inputs."""
    return {name: EVAL_SETS[name] for name in spec["infer"]["eval_sets"] if name in EVAL_SETS}


def _sft(spec: Mapping[str, Any]) -> Mapping[str, Any]:
    sft: Mapping[str, Any] = spec.get("train", {}).get("sft") or {}
    return sft


def _model(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the model block without the name of a model that is an input.

    A shipped chat template counts by its content.
    """
    model = dict(spec["model"])
    template = CHAT_TEMPLATES.get(model.get("chat_template", ""))
    if template is not None:
        model["chat_template"] = template.sha256
    if model.get("source", "").startswith(("models/", "runs/")):
        del model["source"]
    return model


_CONFIG = {StageKind.TRAIN: _train, StageKind.INFER: _infer, StageKind.JUDGE: _judge}
