"""Requests as questions to the engine, checked against the served model."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from training.data.chat_format import ConversationError
from training.errors import ConfigError, ModelConfigError
from training.generate.sampling import Sampling
from training.serving.api.errors import ApiError
from training.serving.api.reading import read_chat, read_completion
from training.serving.api.schema import ChatRequest, SamplingRequest
from training.serving.model import Prompt, ServedModel


@dataclass(frozen=True)
class Question:
    """A request in the form in which its answers are generated."""

    request: SamplingRequest
    prompts: list[Prompt]
    sampling: Sampling
    stop_tokens: frozenset[int]
    """Special tokens among the stop strings."""
    has_tools: bool = False
    with_logprobs: bool = False


def chat_question(model: ServedModel, body: bytes) -> Question:
    """Return the question of a body of ``/v1/chat/completions``.

    Raises:
        ApiError: The body is not valid, or does not fit the model.
    """
    request = read_chat(body)
    require_model(model, request.model)
    return Question(
        request,
        [_chat_prompt(model, request)],
        _sampling(model, request, request.limit),
        _stop_tokens(model, request.stop),
        has_tools=bool(request.tools),
        with_logprobs=request.logprobs,
    )


def completion_question(model: ServedModel, body: bytes) -> Question:
    """Return the question of a body of ``/v1/completions``; errors as :func:`chat_question`."""
    request, prompts = read_completion(body)
    require_model(model, request.model)
    return Question(
        request,
        [_text_prompt(model, prompt) for prompt in prompts],
        _sampling(model, request, request.limit),
        _stop_tokens(model, request.stop),
        with_logprobs=request.logprobs is not None,
    )


def require_model(model: ServedModel, name: str) -> None:
    """Require the name of the served model.

    Raises:
        ApiError: It has another name.
    """
    if name != model.name:
        raise ApiError(
            404,
            f"there is no model {name[:100]!r} here: this server has {model.name!r}",
            code="model_not_found",
            param="model",
        )


def _chat_prompt(model: ServedModel, request: ChatRequest) -> Prompt:
    try:
        prompt = model.chat_prompt(request.messages, request.tools, request.chat_template_kwargs)
    except ConversationError as error:
        raise ApiError(400, str(error), code="invalid_value", param="messages") from error
    except (ConfigError, ModelConfigError) as error:
        name = "chat_template_kwargs" if request.chat_template_kwargs else "messages"
        raise ApiError(400, str(error), code="invalid_value", param=name) from error
    return _checked(model, prompt, "messages")


def _text_prompt(model: ServedModel, prompt: str | list[int]) -> Prompt:
    tokens = model.text_prompt(prompt) if isinstance(prompt, str) else Prompt(prompt)
    return _checked(model, tokens, "prompt")


def _checked(model: ServedModel, prompt: Prompt, param: str) -> Prompt:
    count = len(prompt.tokens)
    if not count:
        raise ApiError(400, "the prompt has no tokens", code="invalid_value", param=param)
    if max(prompt.tokens) >= model.vocabulary:
        problem = f"the model has tokens 0 to {model.vocabulary - 1}, not {max(prompt.tokens)}"
        raise ApiError(400, problem, code="invalid_value", param=param)
    if count >= model.context:
        raise ApiError(
            400,
            f"the prompt has {count} tokens, which leaves no room in the context of "
            f"{model.context} tokens",
            code="context_length_exceeded",
            param=param,
        )
    return prompt


def _sampling(model: ServedModel, request: SamplingRequest, limit: int | None) -> Sampling:
    """Return the settings of a request for at most ``limit`` new tokens."""
    seed = secrets.randbits(31) if request.seed is None else request.seed % 2**31
    return Sampling(
        max_new_tokens=model.context if limit is None else limit,
        temperature=request.temperature,
        seed=seed,
        top_p=request.top_p,
        top_k=request.top_k,
        repetition_penalty=request.repetition_penalty,
        n_samples=request.n,
        stop=tuple(request.stop),
    )


def _stop_tokens(model: ServedModel, stops: Sequence[str]) -> frozenset[int]:
    """Return the ids of the stop strings that are special tokens.

    Raises:
        ApiError: A stop string has a special token and other text.
    """
    for index, stop in enumerate(stops):
        if model.chat.mixes_in_token(stop):
            problem = f"stop[{index}] has a special token and other text: give one of them"
            raise ApiError(400, problem, code="invalid_value", param=f"stop[{index}]")
    ids = map(model.chat.token_of, stops)
    return frozenset(id_ for id_ in ids if id_ is not None)
