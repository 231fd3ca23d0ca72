"""The estimate of a training's cost; a training that cannot fit is refused before it starts."""

from __future__ import annotations

import dataclasses
import logging
import math
from dataclasses import dataclass

import jax.numpy as jnp

from tailrace.formats.model.families.family import FSDP
from tailrace.formats.spec.run_spec import FinalModel, TrainSpec
from training.budget.memory import (
    FLOAT32,
    TOLERANCE,
    Memory,
    Plan,
    Quantized,
    Taught,
    alternatives,
    required_memory,
)
from training.data.batches import Batch, BatchSource
from training.errors import DoesNotFitError
from training.loop.lora import LoraAdapter
from training.loop.trainable import TrainableSplit
from training.loop.trainer import Trainer
from training.machine.accelerators import device_memory, device_memory_used, host_memory, size_text
from training.machine.sharding import DATA, Layout, bytes_per_device
from training.models.family import Model
from training.models.quantized import stored_bytes

_log = logging.getLogger(__name__)

_ADAPTER_SHARE = 0.02
"""Approximate number of an adapter's values, as a share of the frozen weights."""


@dataclass(frozen=True)
class Free:
    """Free memory in bytes; None where the system does not report it."""

    device: int | None
    """Bytes on the fullest device; None for processors, which share the host's memory."""
    host: int | None
    """Bytes on the host."""


@dataclass(frozen=True)
class Estimate:
    """Cost of a training."""

    parameters: int
    """Parameters of the model."""
    trained: int
    """Trained values."""
    steps: int
    """Optimizer steps in all."""
    tokens: int
    """Non-padding tokens in all steps, repetitions counted."""
    plan: Plan
    """Sizes that its memory depends on."""
    devices: int
    """Devices in use."""
    saved: int
    """Bytes of the final model's weights."""
    groups: int = 1
    """Groups of devices that each take a part of the rows."""

    @property
    def memory(self) -> Memory:
        """Memory that the training needs."""
        return required_memory(self.plan)

    def __str__(self) -> str:
        memory = self.memory
        return (
            f"{self.trained:,} of {self.parameters:,} parameters, {self.steps:,} steps, about "
            f"{self.tokens:,} tokens; memory on each device: {_parts(memory)}; copies on the "
            f"host: {size_text(memory.host)}; final model: {size_text(self.saved)}"
        )


def estimate(
    model: Model,
    spec: TrainSpec,
    trainer: Trainer,
    source: BatchSource,
    saved: int,
) -> Estimate:
    """Return the cost of a trainer's training.

    Args:
        model: The model.
        spec: The settings.
        trainer: The trainer.
        source: The batches of the train part.
        saved: Size of the final model's weights in bytes.
    """
    layout, trained = trainer.layout, trainer.trainable.parameters
    groups = layout.mesh.shape[DATA] * layout.mesh.shape[FSDP]
    rows, sequences, length = _rows(spec, source, groups)
    # XLA's compiler for processors computes bfloat16 in float32, and eliminates recomputation as
    # a common subexpression.
    on_processor = layout.mesh.devices.flat[0].platform == "cpu"
    if spec.remat and on_processor:
        _log.warning("train.remat saves no memory on processors, whose compiler undoes it")
    share = bytes_per_device(layout, model.shapes, 1)
    width = FLOAT32 if on_processor else jnp.dtype(trainer.trainable.dtype).itemsize
    plan = Plan(
        sizes=model.dimensions,
        weights=share,
        # Every device has the whole adapter.
        trained=trained if spec.adapter else share,
        gathered=trained,
        rows=-(-rows // groups) * sequences,
        passes=max(1, rows // (spec.micro_batch_size or rows)),
        length=length,
        slots=trainer.slots if spec.packing and layout.row_parts == 1 else None,
        width=width,
        remat=spec.remat and not on_processor,
        can_remat=not on_processor,
        adapter=spec.adapter is not None,
        by_block=trainer.trainable.frozen_head and groups == 1,
        best=spec.final_model is FinalModel.BEST,
        quantized=_quantized(trainer.trainable, layout),
        taught=_taught(trainer),
        answers=source.answers and source.answers.part(groups),
        starting=spec.grpo is not None and spec.grpo.kl_beta > 0,
    )
    tokens = round(source.tokens_per_epoch * trainer.total / source.steps_per_epoch)
    return Estimate(
        model.parameters, trained, trainer.total, tokens, plan, layout.mesh.size, saved, groups
    )


def _taught(trainer: Trainer) -> Taught | None:
    """Return the sizes of a trainer's teacher; None for none."""
    if trainer.teacher is None:
        return None
    model, layout = trainer.teacher.model, trainer.teacher.layout(trainer.layout.mesh)
    width = jnp.dtype(trainer.trainable.dtype).itemsize
    return Taught(bytes_per_device(layout, model.shapes, width), model.dimensions)


def _quantized(trainable: TrainableSplit, layout: Layout) -> Quantized:
    """Return the sizes of a training's quantized weights on each device."""
    if not isinstance(trainable, LoraAdapter):
        return Quantized()
    dtype = trainable.spec.base_dtype
    shapes = {layer.weight: layer.shape for layer in trainable.quantized}
    parts = {name: layout.parts(name, shape) for name, shape in shapes.items()}
    counts = [math.prod(shape) // parts[name] for name, shape in shapes.items()]
    stored = sum(stored_bytes(shape, dtype) // parts[name] for name, shape in shapes.items())
    return Quantized(sum(counts), stored, max(counts, default=0))


def free_memory(layout: Layout) -> Free:
    """Return the free memory of the mesh's devices and of the host."""
    rest = [
        limit - device_memory_used(device)
        for device in layout.mesh.devices.flat
        if (limit := device_memory(device)) is not None
    ]
    return Free(min(rest, default=None), host_memory())


def require_fit(estimated: Estimate, spec: TrainSpec, free: Free) -> None:
    """Log the estimate, and a warning where memory is tight.

    Raises:
        DoesNotFitError: The training needs more memory than is free, by more than the error of the
            estimate; the error names settings that fit.
    """
    _log.info("%s", estimated)
    short = _short(estimated, free, TOLERANCE)
    if short:
        raise DoesNotFitError(
            f"the training does not fit: {short}. {_way_out(estimated, spec, free)}"
        )
    tight = _short(estimated, free, 0.0)
    if tight:
        _log.warning("memory is tight: %s", tight)


def _short(estimated: Estimate, free: Free, tolerance: float) -> str:
    """Return a description of the memory that is lacking; empty for a training that fits."""
    memory, shortages = estimated.memory, []
    host = memory.host
    if free.device is None:
        host += memory.device * estimated.devices
    elif memory.device > free.device * (1 + tolerance):
        shortages.append(
            f"{_parts(memory)} on each device, of which {size_text(free.device)} are free"
        )
    if free.host is not None and host > free.host * (1 + tolerance):
        copies = f"{size_text(memory.host)} for copies of its state"
        what = copies if free.device is not None else f"{_parts(memory)}, and {copies}"
        shortages.append(f"{what} on the host, of which {size_text(free.host)} are free")
    return "it needs about " + "; and ".join(shortages) if shortages else ""


def _way_out(estimated: Estimate, spec: TrainSpec, free: Free) -> str:
    plan, groups = estimated.plan, estimated.groups
    most = spec.micro_batch_size or spec.step_rows
    sizes = [n for n in range(most, 0, -1) if spec.step_rows % n == 0 and n % groups == 0]
    tried = alternatives(plan, sizes)
    if not plan.adapter:
        small = round(plan.weights * _ADAPTER_SHARE)
        frozen = dataclasses.replace(plan, adapter=True, trained=small, gathered=small)
        tried.append(("train.adapter: {lora: {}}", frozen))
        tried += [
            (f"train.adapter: {{lora: {{}}}} and {text}", changed)
            for text, changed in alternatives(frozen, sizes)
        ]
    for text, changed in tried:
        if not _short(dataclasses.replace(estimated, plan=changed), free, 0.0):
            return f"This would fit: {text}; or ask for a pool with more memory"
    split = "split the weights over several devices with train.mesh.fsdp, or "
    return f"No smaller batch would fit: {split}ask for a pool with more memory"


def _rows(spec: TrainSpec, source: BatchSource, multiple: int) -> tuple[int, int, int]:
    """Return the rows of a step, the sequences of a row, and their length in tokens."""
    batch: Batch | None = source.widest()
    if spec.packing:
        steps = min(spec.steps_per_dispatch, source.steps_per_epoch)
        batch = source.batches(0, steps, spec.micro_batch_size or multiple, None).rows
    if batch is None:
        raise ValueError("packed rows are those of a dataset, which always has some")
    _, rows, *sequences, length = batch.tokens.shape
    if batch.labels is not None:
        # The mismatched answers of feedback have no backward pass.
        sequences = []
    return rows, math.prod(sequences), length


def _parts(memory: Memory) -> str:
    sampling = f"; while sampling, {size_text(memory.sampling)}" if memory.sampling else ""
    return (
        f"{size_text(memory.device)} (weights {size_text(memory.weights)}, gradients "
        f"{size_text(memory.gradients)}, optimizer {size_text(memory.moments)}, activations "
        f"{size_text(memory.activations)}{sampling})"
    )
