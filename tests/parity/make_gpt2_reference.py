"""Make the reference that test_gpt2.py compares with; needs PyTorch, which the tests do not.

Run ``python tests/parity/make_gpt2_reference.py`` where torch and transformers are installed. It
writes a tiny GPT-2 with random weights as transformers saves it, and what PyTorch computes with it.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import GPT2Config, GPT2LMHeadModel

FOLDER = Path(__file__).parent / "gpt2_tiny"
RESPONSE_START = 5


def main() -> None:
    """Write the model folder and expected.safetensors."""
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=61,
        n_positions=32,
        n_embd=16,
        n_layer=2,
        n_head=2,
        initializer_range=0.3,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = GPT2LMHeadModel(config).eval()
    for parameter in model.parameters():
        # Fresh biases are zero and fresh norms one; only other values show that they are used.
        parameter.data += 0.1 * torch.randn_like(parameter)
    model.save_pretrained(FOLDER)
    tokens = torch.randint(1, config.vocab_size, (3, 12))
    logits = model(tokens).logits
    labels = tokens.clone()
    labels[:, :RESPONSE_START] = -100
    loss = model(tokens, labels=labels).loss
    loss.backward()
    generated = model.generate(
        tokens[:1], attention_mask=torch.ones_like(tokens[:1]), max_new_tokens=10, do_sample=False
    )
    expected = {
        "tokens": tokens,
        "logits": logits.detach(),
        "loss": loss.detach().reshape(1),
        "generated": generated[:, tokens.shape[1] :].contiguous(),
        "gradient.wte": model.transformer.wte.weight.grad,
        "gradient.c_attn": model.transformer.h[1].attn.c_attn.weight.grad,
        "gradient.ln_1": model.transformer.h[0].ln_1.bias.grad,
    }
    save_file(expected, FOLDER / "expected.safetensors")


if __name__ == "__main__":
    main()
