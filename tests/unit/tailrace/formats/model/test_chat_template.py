from __future__ import annotations

import pytest

from tailrace.formats.model.chat_template import (
    TEMPLATE_FILE,
    chat_templates,
    default_template,
    is_template_file,
    template_reads_clock,
)


@pytest.mark.parametrize(
    ("text", "reads"),
    [
        ("{{ strftime_now('%d %b %Y') }}", True),
        ("{%- set today = strftime_now ('%Y') %}{{ today }}", True),
        ("{% if strftime_now is defined %}{% set d = strftime_now %}{% endif %}", True),
        ("{# strftime_now('%Y') #}{{ messages[0].content }}", False),
        ("{{ my_strftime_now_text }}", False),
        ("{{ messages }}", False),
    ],
)
def test_a_template_that_asks_for_the_date(text: str, reads: bool) -> None:
    assert template_reads_clock(text) is reads


def test_files_outweigh_the_settings() -> None:
    assert chat_templates("settings", {}) == {"default": "settings"}
    assert chat_templates("settings", {TEMPLATE_FILE: "file"}) == {"default": "file"}
    files = {TEMPLATE_FILE: "file", "additional_chat_templates/tool_use.jinja": "tools"}
    assert chat_templates("settings", files) == {"default": "file", "tool_use": "tools"}
    assert chat_templates(None, {"other.jinja": "x"}) == {}


def test_the_default_one_renders_prompts() -> None:
    named = [{"name": "default", "template": "plain"}, {"name": "rag", "template": "r"}]
    assert default_template(chat_templates(named, {})) == "plain"
    assert default_template({}) is None
    with pytest.raises(ValueError, match=r"\(rag\), none of them named 'default'"):
        default_template(chat_templates(named[1:], {}))


@pytest.mark.parametrize("settings", [3, [3], [{"name": "a"}], {"name": 1, "template": "x"}])
def test_settings_that_are_no_templates(settings: object) -> None:
    with pytest.raises(ValueError, match="must be text, or a list"):
        chat_templates(settings, {})


def test_where_templates_are() -> None:
    assert is_template_file("additional_chat_templates/rag.jinja")
    assert not is_template_file("additional_chat_templates/deep/rag.jinja")
    assert not is_template_file("sub/chat_template.jinja")
