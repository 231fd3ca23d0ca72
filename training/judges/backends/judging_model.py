"""Models that judge, on a server or on this worker."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from tailrace.formats.spec.judge_spec import JudgeBackend
from training.errors import ConfigError
from training.judges.backends.replies import Reply
from training.judges.base import JudgeError, JudgeSetup


class JudgingModel(Protocol):
    """A model that answers a judge's prompts."""

    def ask(self, prompts: Sequence[str]) -> Iterator[Reply | JudgeError]:
        """Yield one greedy reply per prompt, in order, as each becomes ready."""
        ...


def open_judging_model(setup: JudgeSetup, backend: JudgeBackend) -> JudgingModel:
    """Open the model that a spec names.

    Raises:
        ConfigError: A key or folder is missing, or the server may not be reached.
        TrainingError: The model cannot be loaded.
    """
    if backend.endpoint is not None:
        from training.judges.backends.endpoint import Endpoint

        return Endpoint(backend.endpoint, backend.max_new_tokens, setup.access)
    if setup.model is None:
        raise ConfigError(f"the judge {setup.spec.name} lacks the folder of {backend.model}")
    from training.judges.backends.local_model import LocalModel

    return LocalModel(setup.model, backend.max_new_tokens, setup.clock)
