"""Asking a model that judges, wherever it runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from tailrace.formats.spec.judge_spec import JudgeBackend
from training.errors import ConfigError
from training.judges.base import JudgeError, JudgeSetup


@dataclass(frozen=True)
class Reply:
    """What the model said."""

    text: str
    cost_tokens: int
    """Tokens that it read and wrote; 0 where nobody counts them."""


class Asker(Protocol):
    """A model that judges."""

    def ask(self, prompts: Sequence[str]) -> Iterator[Reply | JudgeError]:
        """One reply for each prompt, in their order, as they come; greedy."""
        ...


def open_backend(setup: JudgeSetup, backend: JudgeBackend) -> Asker:
    """The model that a spec names.

    Raises :class:`training.errors.ConfigError` for a missing key or folder and for a server out of
    reach, and what loading a model raises.
    """
    if backend.endpoint is not None:
        from training.judges.backends.endpoint import Endpoint

        return Endpoint(backend.endpoint, backend.max_new_tokens, setup.access)
    if setup.model is None:
        raise ConfigError(f"the judge {setup.spec.name} lacks the folder of {backend.model}")
    from training.judges.backends.local_model import LocalModel

    return LocalModel(setup.model, backend.max_new_tokens, setup.clock)
