"""Print how far each family is from transformers and PEFT: ``python -m tests.parity.figures``.

Figures are the largest difference of logits as a share of the largest logit, in float32, on the
models of make_goldens.py and make_adapters.py. Case names may be given.
"""

from __future__ import annotations

import sys

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load_file

from tests.parity.cases import ADAPTER_TARGETS, ADAPTERS, GOLDENS
from tests.parity.compare import load_adapter, logits_of
from training.models.folder import load_model


def difference(computed: jax.Array, expected: np.ndarray) -> float:
    """Return the largest difference as a share of the largest logit."""
    return float(np.abs(np.asarray(computed) - expected).max() / np.abs(expected).max())


def main(names: list[str]) -> None:
    """Print a row for each case."""
    for name in names:
        model, params = load_model(GOLDENS / name)
        expected = load_file(GOLDENS / name / "expected.safetensors")
        tokens = jnp.asarray(expected["tokens"], jnp.int32)
        plain = jax.jit(lambda params, tokens, model=model: logits_of(model.bind(params), tokens))
        adapter, trained, _ = load_adapter(name)
        adapted = load_file(ADAPTERS / name / "expected.safetensors")
        beside = jax.jit(
            lambda trained, params, tokens, adapter=adapter: logits_of(
                adapter.decoder(trained, params), tokens
            )
        )
        lora = beside(trained, params, jnp.asarray(adapted["tokens"], jnp.int32))
        shares = (
            difference(plain(params, tokens), expected["logits"]),
            difference(lora, adapted["logits"]),
        )
        sys.stdout.write(f"{name:10} logits {shares[0]:.1e}  LoRA {shares[1]:.1e}\n")


if __name__ == "__main__":
    main(sys.argv[1:] or list(ADAPTER_TARGETS))
