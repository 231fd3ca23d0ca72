"""Arithmetic of a model per token."""

from __future__ import annotations

from math import prod

from tailrace.formats.model.families.family import OUTPUT_LAYER
from training.models.family import Model


def matmul_parameters(model: Model) -> int:
    """The parameters that every token is multiplied with.

    Tables that are only looked up are not among them: positions, and the input embedding where the
    output layer is another.
    """
    shapes = model.shapes
    family = model.family
    lookups = {*family.lookups, *([family.embedding] if OUTPUT_LAYER in shapes else [])}
    return sum(
        prod(shape) for name, shape in shapes.items() if len(shape) > 1 and name not in lookups
    )


def flops_per_token(model: Model, length: int, trained: int) -> float:
    """Floating-point operations of one training step per token, forward and backward.

    The count of PaLM (Chowdhery et al., arXiv:2204.02311, appendix B): 6 N + 12 L H Q T, of which
    a third is the forward pass. Rematerialization is not counted. ``trained`` parameters beside
    frozen weights (an adapter) need no gradients of these, which saves a third of 6 N.
    """
    sizes, weights = model.dimensions, matmul_parameters(model)
    attention = 12.0 * sizes.layers * sizes.attention * length
    if trained < model.parameters:
        return 4.0 * weights + 6.0 * trained + attention
    return 6.0 * weights + attention
