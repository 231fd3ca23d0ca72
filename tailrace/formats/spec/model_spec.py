"""The model that a run starts from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from tailrace.formats import catalog
from tailrace.formats.resource_id import MODEL_SOURCE
from tailrace.formats.schema import Violation, exactly_one, key
from tailrace.formats.wording import unknown_name


@dataclass(frozen=True)
class ModelSpec:
    """Model that a run starts from: exactly one of ``source`` and ``preset``."""

    RENAMED: ClassVar[dict[str, str]] = {
        "model_id": "model.source",
        "model_name": "model.source or model.preset",
        "name": "model.source or model.preset",
        "max_length": "train.max_seq_length",
    }

    source: str | None = key(
        "A Hugging Face hub id (`distilgpt2`), fetched without a token unless the worker's "
        "operator gives one, or an imported model (`models/{model}`).",
        default=None,
        minimum=1,
        max_length=256,
        pattern=MODEL_SOURCE,
        form=(
            "a hub id such as 'distilgpt2' or 'org/name', nor an imported model 'models/NAME'; "
            "a folder is imported first: tailrace models import FOLDER"
        ),
    )
    preset: str | None = key(
        "A built-in architecture started from random weights (`gpt2-nano`).",
        default=None,
        minimum=1,
        max_length=63,
    )

    def violations(self, path: str) -> list[Violation]:
        """Return a violation unless exactly one of the two is set."""
        violations = exactly_one(path or "model", source=self.source, preset=self.preset)
        if self.preset is not None:
            problem = unknown_name(self.preset, tuple(catalog.PRESETS))
            violations += [Violation(f"{path}.preset", problem)] if problem else []
        return violations
