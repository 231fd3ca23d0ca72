"""The settings of a training that continues the adapter of an imported model."""

from __future__ import annotations

import math
from dataclasses import replace

from tailrace.formats.spec.model_spec import AdapterUse
from tailrace.formats.spec.run_spec import AdapterSpec, LoraSpec, ModelSpec, TrainSpec
from training.errors import ConfigError
from training.loop.lora import find_targets, short_names
from training.models.adapter_folder import StoredAdapter
from training.models.family import Model


def continues(spec: ModelSpec) -> bool:
    """Return True if a training continues the adapter of its model."""
    return spec.adapter is AdapterUse.CONTINUE


def continued_settings(
    train: TrainSpec, model: Model, adapter: StoredAdapter | None, source: str
) -> TrainSpec:
    """Return the settings with rank, alpha and layers of an adapter in the folder of ``source``.

    Raises:
        ConfigError: There is no adapter, or ``train.adapter.lora`` has other values; the message
            names both.
    """
    if adapter is None:
        raise ConfigError(
            f"model.adapter is {AdapterUse.CONTINUE.value}, but {source} has no adapter: import "
            "one with its base model (tailrace models import ADAPTER --base models/NAME), or leave "
            "model.adapter out"
        )
    modules = [target.module for target in adapter.targets]
    # The scale of rank-stabilized adapters has another divisor.
    alpha = adapter.config.scale * adapter.config.rank
    theirs = LoraSpec(
        rank=adapter.config.rank, alpha=alpha, target_modules=short_names(model, modules)
    )
    lora = train.adapter.lora if train.adapter is not None else None
    if lora is None:
        return replace(train, adapter=AdapterSpec(lora=theirs))
    differences = []
    if lora.rank != theirs.rank:
        differences.append(f"rank {lora.rank}, the adapter has {theirs.rank}")
    if not math.isclose(lora.alpha, theirs.alpha, rel_tol=1e-6):
        differences.append(f"alpha {lora.alpha:g}, the adapter has {theirs.alpha:g}")
    if [target.module for target in find_targets(model, lora.target_modules)] != modules:
        requested = ", ".join(lora.target_modules) or "all linear layers"
        adapted = ", ".join(theirs.target_modules)
        differences.append(f"target_modules {requested}, the adapter has {adapted}")
    if differences:
        raise ConfigError(
            f"train.adapter.lora differs from the adapter of {source} that model.adapter "
            f"continues: {'; '.join(differences)}: leave train.adapter out, or give the same values"
        )
    return replace(train, adapter=AdapterSpec(lora=replace(lora, alpha=theirs.alpha)))
