"""Chat templates of a model folder, and the choice of the one that renders prompts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import PurePosixPath

TEMPLATE_FILE = "chat_template.jinja"
"""File of the default template; it overrides ``chat_template`` in tokenizer_config.json."""

TEMPLATE_FOLDER = "additional_chat_templates"
"""Folder of further templates, each named by its file."""

DEFAULT = "default"
"""Name of the template that renders prompts."""

_COMMENT = re.compile(r"\{#.*?#\}", re.DOTALL)
_CLOCK = re.compile(r"\bstrftime_now\b")


def template_reads_clock(text: str) -> bool:
    """Return True if a template reads the current date, so that its prompts change daily."""
    return _CLOCK.search(_COMMENT.sub("", text)) is not None


def is_template_text(text: str) -> bool:
    """Return True for the text of a template, False for a template's name."""
    return "{{" in text or "{%" in text


def is_template_file(path: str) -> bool:
    """Return True if a file of a model folder holds a chat template."""
    return path == TEMPLATE_FILE or _additional_name(path) is not None


def chat_templates(settings: object, files: Mapping[str, str]) -> dict[str, str]:
    """Return a folder's chat templates by name, as transformers reads them.

    Args:
        settings: ``chat_template`` of tokenizer_config.json: a text or a list of objects with
            ``name`` and ``template``.
        files: Texts of the template files by path.

    Raises:
        ValueError: The settings are neither.
    """
    in_files = {
        DEFAULT if path == TEMPLATE_FILE else str(_additional_name(path)): text
        for path, text in files.items()
        if is_template_file(path)
    }
    return in_files or _templates_of(settings)


def default_template(templates: Mapping[str, str]) -> str | None:
    """Return the template that renders prompts; None for a model without templates.

    Raises:
        ValueError: There are templates, but none is the default one.
    """
    if templates and DEFAULT not in templates:
        names = ", ".join(sorted(templates)[:5])
        raise ValueError(
            f"has several chat templates ({names}), none of them named {DEFAULT!r}: name the one "
            f"for plain prompts {DEFAULT!r}, or save it as {TEMPLATE_FILE}"
        )
    return templates.get(DEFAULT)


def _additional_name(path: str) -> str | None:
    place = PurePosixPath(path)
    inside = str(place.parent) == TEMPLATE_FOLDER and place.suffix == ".jinja"
    return place.stem if inside else None


def _templates_of(settings: object) -> dict[str, str]:
    if settings is None:
        return {}
    if isinstance(settings, str):
        return {DEFAULT: settings}
    templates: dict[str, str] = {}
    for entry in settings if isinstance(settings, list) else [settings]:
        name = entry.get("name") if isinstance(entry, Mapping) else None
        text = entry.get("template") if isinstance(entry, Mapping) else None
        if not isinstance(name, str) or not isinstance(text, str):
            raise ValueError("chat_template must be text, or a list of objects {name, template}")
        templates[name] = text
    return templates
