"""Tiny models of transformers with random weights, and what they compute; needs PyTorch."""

from __future__ import annotations

import torch
import transformers
from transformers import PreTrainedModel
from transformers.core_model_loading import revert_weight_conversion

from tests.parity.cases import (
    BALANCE_FACTOR,
    BALANCE_LENGTHS,
    BATCH,
    CASES,
    ENDS_AT,
    NEW_TOKENS,
    PROMPT_LENGTHS,
    RESPONSE_START,
    VOCABULARY,
)


def make_model(case: str, seed: int) -> PreTrainedModel:
    """A model of a case. The embedding's spread makes the likeliest token a clear one."""
    torch.manual_seed(seed)
    name, settings = CASES[case]
    suffix = "LMHeadModel" if name == "GPT2" else "ForCausalLM"
    model_class = getattr(transformers, name + suffix)
    config = model_class.config_class(
        vocab_size=VOCABULARY,
        initializer_range=0.3,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=None,
        **settings,
    )
    model: PreTrainedModel = model_class(config).eval()
    for parameter in model.parameters():
        # Fresh biases are zero and fresh norms one; only other values show that they are used.
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


def reference(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """What transformers computes: logits, loss, all gradients, greedy continuations.

    Gradients are keyed ``gradient.`` and the parameter's name, prompts ``prompt.`` and their
    number, continuations ``generated.`` and theirs; ``ends`` are the tokens that end these.
    """
    tokens = torch.randint(1, VOCABULARY, BATCH)
    labels = tokens.clone()
    labels[:, :RESPONSE_START] = -100
    output = model(tokens, labels=labels)
    output.loss.backward()
    found = {
        "tokens": tokens,
        "logits": output.logits.detach(),
        "loss": output.loss.detach().reshape(1),
    }
    for name, gradient in _stored_gradients(model).items():
        found[f"gradient.{name}"] = gradient
    prompts = [torch.randint(1, VOCABULARY, (length,)) for length in PROMPT_LENGTHS]
    first = _continue(model, prompts[0], [0])
    ends = [0, int(first[min(ENDS_AT, len(first) - 1)])]
    found["ends"] = torch.tensor(ends)
    for number, prompt in enumerate(prompts):
        found[f"prompt.{number}"] = prompt
        found[f"generated.{number}"] = _continue(model, prompt, ends)
    return found


def balanced(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """The loss of padded rows with that of the balance of experts, and all gradients.

    ``balance`` is the latter without its factor, which is :data:`BALANCE_FACTOR`.
    """
    tokens = torch.randint(1, VOCABULARY, BATCH, generator=torch.Generator().manual_seed(3))
    mask = torch.arange(BATCH[1])[None] < torch.tensor(BALANCE_LENGTHS)[:, None]
    labels = tokens.where(mask, -100)
    labels[:, :RESPONSE_START] = -100
    model.router_aux_loss_coef = BALANCE_FACTOR
    model.zero_grad()
    output = model(tokens, labels=labels, attention_mask=mask.long(), output_router_logits=True)
    output.loss.backward()
    figures = {
        "tokens": tokens,
        "loss": output.loss.detach().reshape(1),
        "balance": output.aux_loss.detach().reshape(1),
    }
    for name, gradient in _stored_gradients(model).items():
        figures[f"gradient.{name}"] = gradient
    return figures


def _stored_gradients(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """The gradients by the names of parameters here.

    transformers joins the maps of all experts, and renames some parameters; its own conversion
    undoes that for the gradients as it does for the weights of a saved model.
    """
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    if not any(".experts." in name for name in gradients):
        return gradients
    stored = revert_weight_conversion(model, gradients)
    experts: dict[str, dict[int, torch.Tensor]] = {}
    named = {}
    for name, gradient in stored.items():
        prefix, found, rest = name.partition(".experts.")
        if found:
            number, _, part = rest.partition(".")
            experts.setdefault(f"{prefix}.experts.{part}", {})[int(number)] = gradient
        else:
            named[name] = gradient
    for name, rows in experts.items():
        named[name] = torch.stack([rows[number] for number in range(len(rows))])
    return named


def _continue(model: PreTrainedModel, prompt: torch.Tensor, ends: list[int]) -> torch.Tensor:
    """The greedy continuation of one prompt."""
    # The frequencies of a long sequence are kept until there is a short one.
    model(prompt[None, :1])
    continued = model.generate(
        prompt[None],
        attention_mask=torch.ones_like(prompt)[None],
        max_new_tokens=NEW_TOKENS,
        do_sample=False,
        eos_token_id=ends,
        pad_token_id=0,
    )
    new: torch.Tensor = continued[0, len(prompt) :].contiguous()
    return new
