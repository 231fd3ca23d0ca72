"""Chat templates that ship with the training library, by name.

They are our texts, and render the usual conversations as the templates of the models that they are
named after. Some mark the assistant's turns with ``{% generation %}`` blocks.
"""

from __future__ import annotations

from importlib.resources import files

from tailrace.formats.catalog import CHAT_TEMPLATES
from tailrace.formats.wording import unknown_name
from training.errors import ModelConfigError


def shipped_template(name: str) -> str:
    """Return the text of a shipped chat template.

    Raises:
        ModelConfigError: No template has this name.
    """
    problem = unknown_name(name, tuple(CHAT_TEMPLATES))
    if problem:
        raise ModelConfigError(f"chat template {problem}")
    return files(__name__).joinpath(f"{name}.jinja").read_text(encoding="utf-8")
