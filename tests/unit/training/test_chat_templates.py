from __future__ import annotations

import re
from importlib.resources import files

import pytest

from tailrace.formats.catalog import CHAT_TEMPLATES
from training import chat_templates
from training.chat_templates import shipped_template
from training.errors import ModelConfigError


def test_every_name_has_its_file() -> None:
    names = {file.name for file in files(chat_templates).iterdir()}
    templates = {name for name in names if name.endswith(".jinja")}
    assert templates == {f"{name}.jinja" for name in CHAT_TEMPLATES}
    assert all("messages" in shipped_template(name) for name in CHAT_TEMPLATES)


@pytest.mark.parametrize("name", ["qwen-3", "../data/x", ""])
def test_an_unknown_name_is_refused(name: str) -> None:
    with pytest.raises(ModelConfigError, match=re.escape(f"chat template {name!r} is not known")):
        shipped_template(name)
