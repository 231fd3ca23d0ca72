"""Arithmetic of a model per token."""

from __future__ import annotations

from math import prod

from tailrace.formats.model.families.family import OUTPUT_LAYER
from training.models.family import Model


def matmul_parameters(model: Model) -> int:
    """Return the number of parameters that each token is multiplied with.

    Of a layer's experts only those count that a token is sent to. Lookup tables do not: positions,
    and an input embedding that is not the output layer.
    """
    shapes, sizes = model.shapes, model.dimensions
    family = model.family
    stacks = family.stacks(model.config)
    lookups = {*family.lookups, *([family.embedding] if OUTPUT_LAYER in shapes else [])}
    return sum(
        prod(shape[1:]) * sizes.active_experts if name in stacks else prod(shape)
        for name, shape in shapes.items()
        if len(shape) > 1 and name not in lookups
    )


def flops_per_token(model: Model, length: int, trained: int) -> float:
    """Return the floating-point operations of a training step per token, forward and backward.

    The count of PaLM (Chowdhery et al., arXiv:2204.02311, appendix B): 6 N + 12 L H Q T, of which
    a third is the forward pass. Rematerialization does not count. With an adapter of ``trained``
    parameters the frozen weights need no gradients, which saves a third of 6 N.
    """
    sizes, weights = model.dimensions, matmul_parameters(model)
    attention = 12.0 * sizes.layers * sizes.attention * length
    if trained < model.parameters:
        return 4.0 * weights + 6.0 * trained + attention
    return 6.0 * weights + attention
