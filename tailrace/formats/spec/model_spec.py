"""The model that a run starts from."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, ClassVar

from tailrace.formats import catalog
from tailrace.formats.model.chat_template import is_template_text
from tailrace.formats.resource_id import MODEL_SOURCE
from tailrace.formats.schema import Violation, exactly_one, key
from tailrace.formats.wording import unknown_name

MAX_TEMPLATE_TEXT = 200_000
"""Maximum length of a chat template in a spec, in characters."""


class AdapterUse(enum.StrEnum):
    """Use of a LoRA adapter that was imported on its base model."""

    MERGE = "merge"
    """The weights contain it, and a training changes them as any others."""
    CONTINUE = "continue"
    """The training goes on with its matrices, next to the frozen weights of the base model."""


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
        "operator gives one, an imported model (`models/{model}`), or the model of another run: "
        "its final one (`runs/{run}`) or that of a checkpoint (`runs/{run}@{step}`). The new run "
        "waits until the other one has succeeded; a checkpoint that exists already is used at "
        "once.",
        default=None,
        minimum=1,
        max_length=256,
        pattern=MODEL_SOURCE,
        form=(
            "a hub id such as 'distilgpt2' or 'org/name', nor an imported model 'models/NAME', "
            "nor a run's model 'runs/NAME' or 'runs/NAME@STEP'; "
            "a folder is imported first: tailrace models import FOLDER"
        ),
        shown_first=True,
    )
    preset: str | None = key(
        "A built-in architecture started from random weights (`gpt2-nano`).",
        default=None,
        minimum=1,
        max_length=63,
        shown_first=True,
    )

    chat_template: str | None = key(
        "Chat template in place of the model's own: the name of a shipped one (`chatml`), or the "
        "text of a Jinja template; in a YAML file also the path of one (`templates/mine.jinja`).",
        default=None,
        minimum=1,
        max_length=MAX_TEMPLATE_TEXT,
    )
    chat_template_kwargs: dict[str, Any] = key(
        "Variables that the chat template reads (`enable_thinking: false`), in training and "
        "evaluation alike.",
        default={},
        max_length=64,
    )
    adapter: AdapterUse | None = key(
        "Use of the LoRA adapter that a run trained, or that was imported on its base model: "
        "merged into the weights, or continued by the training (default: `merge`).",
        default=None,
    )

    def violations(self, path: str) -> list[Violation]:
        """Return the violations of source, preset and chat template."""
        violations = exactly_one(path or "model", source=self.source, preset=self.preset)
        if self.chat_template is not None and not is_template_text(self.chat_template):
            problem = unknown_name(self.chat_template, tuple(catalog.CHAT_TEMPLATES))
            if problem:
                where = f"{path or 'model'}.chat_template"
                violations.append(Violation(where, f"{problem}, or the text of a template"))
        if self.preset is not None:
            problem = unknown_name(self.preset, tuple(catalog.PRESETS))
            violations += [Violation(f"{path}.preset", problem)] if problem else []
            if self.adapter is not None:
                where = f"{path or 'model'}.adapter"
                violations.append(Violation(where, "needs source: a preset has no adapter"))
        return violations
