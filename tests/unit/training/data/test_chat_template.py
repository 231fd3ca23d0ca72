"""Chat templates render as in transformers, and none takes more time or memory than it may."""

from __future__ import annotations

import copy
from datetime import date
from typing import Any

import pytest

from training.data import chat_template
from training.data.chat_template import (
    PROCESS,
    Beginning,
    ChatTemplate,
    RenderJob,
    render_all,
    render_template,
)
from training.data.rendering import render_messages
from training.errors import ModelConfigError
from training.machine.bounded_process import OutOfBoundsError

DAY = date(2024, 2, 29)
MESSAGES = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "What is 1 + 2? “é”\n\u2028"},
    {"role": "assistant", "content": "3"},
]
TEMPLATES = [
    "{% for m in messages %}<|{{ m.role }}|>{{ m['content'] | trim }}{{ eos_token }}{% endfor %}",
    "{{ bos_token }}{{ messages | tojson(indent=2) }}{{ additional_special_tokens }}",
    "{%- set ns = namespace(n=0) %}{% for m in messages %}{% if m.role == 'user' %}"
    "{% set ns.n = ns.n + 1 %}{% continue %}{% endif %}{{ ns.n }}{% generation %}{{ m.content }}"
    "{% endgeneration %}{% endfor %}{{ tools is none }}{{ enable_thinking is defined }}",
    "{{ messages[1].content.split()[-1] }}{% if add_generation_prompt %}>{% endif %}",
]
HOSTILE = [
    "{{ 'a' * 10**10 }}",
    "{{ 'a'.ljust(10**10) }}",
    "{{ '%10000000000d' % 1 }}",
    "{{ 'a' | center(10**10) }}",
    "{% set n = namespace(s='a') %}{% for i in range(60) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
    "{{ 10 ** (10 ** 9) }}",
    "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
]


@pytest.fixture(autouse=True)
def _started() -> None:
    """The first rendering takes longer: it imports transformers."""
    render("{{ 1 }}")


def render(template: str, day: date = DAY) -> str:
    return render_template(ChatTemplate(template, day), RenderJob(MESSAGES))


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("asks", [True, False])
def test_it_renders_as_transformers_does(tokenizer: Any, template: str, asks: bool) -> None:
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.chat_template = template
    expected = tokenizer.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=asks)
    assert render_messages(tokenizer, MESSAGES, DAY, asks=asks) == expected


def test_its_clock_stands_still() -> None:
    text = "{{ strftime_now('%d %b %Y') }}"
    assert render(text) == "29 Feb 2024"
    assert render(text, date(2025, 1, 2)) == "02 Jan 2025"


@pytest.mark.parametrize("template", HOSTILE)
def test_a_template_that_needs_too_much_is_refused(
    template: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PROCESS, "seconds", 0.5)
    with pytest.raises(ModelConfigError, match="the model's chat template"):
        render(template)


def test_a_template_that_writes_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chat_template, "_MOST_ADDED", 1000)
    with pytest.raises(ModelConfigError, match="writes 100000 characters for a conversation of"):
        render("{{ 'a' * 100000 }}")


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ("{{ raise_exception('no system turn') }}", "TemplateError: no system turn"),
        (r"{{ raise_exception('two\nlines \x1b[31m') }}", r"TemplateError: two lines \\x1b\[31m$"),
        ("{{ messages", "TemplateSyntaxError"),
        ("{{ messages[9].content }}", "UndefinedError"),
        (r"{{ '\ud800' }}", "UnicodeEncodeError"),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "SecurityError"),
    ],
)
def test_a_template_that_fails_says_how(template: str, says: str) -> None:
    with pytest.raises(ModelConfigError, match=f"cannot render a prompt: {says}"):
        render(template)


def test_the_limits_are_those_of_one_conversation(monkeypatch: pytest.MonkeyPatch) -> None:
    ask = PROCESS.ask
    asked = []

    def impatient(request: Any) -> Any:
        asked.append(len(request["jobs"]))
        if len(request["jobs"]) > 1:
            raise OutOfBoundsError("takes longer than 20 s")
        return ask(request)

    monkeypatch.setattr(PROCESS, "ask", impatient)
    template = ChatTemplate("{{ messages[0].content }}", DAY)
    jobs = [RenderJob([{"role": "user", "content": str(i)}]) for i in range(3)]
    assert [rendering.text for rendering in render_all(template, jobs)] == ["0", "1", "2"]
    assert asked == [3, 1, 1, 1]


def test_a_conversation_that_the_template_refuses_leaves_the_others_alone() -> None:
    text = "{% if messages | length > 2 %}{{ raise_exception('too many') }}{% endif %}ok"
    jobs = [RenderJob(MESSAGES), RenderJob(MESSAGES[:2])]
    refused, rendered = render_all(ChatTemplate(text, DAY), jobs)
    assert (refused.text, refused.problem) == (None, "TemplateError: too many")
    assert (rendered.text, rendered.problem) == ("ok", "")


def test_beginnings_are_compared_with_the_whole() -> None:
    text = (
        "{% for m in messages %}{{ m.role + (m.content if loop.last else '') + ';' }}{% endfor %}"
        "{% if add_generation_prompt %}assistant{% endif %}"
    )
    wanted = [Beginning(2, asks=True), Beginning(2, asks=False), Beginning(1, asks=True)]
    short = [{"role": role, "content": "x"} for role in ("user", "assistant", "user")]
    rendering = render_all(ChatTemplate(text, DAY), [RenderJob(short, beginnings=wanted)])[0]
    assert rendering.text == "user;assistant;userx;"
    shared = [b and (b.length, b.common, b.text) for b in rendering.beginnings]
    answered, asked = "user;assistantx;assistant", "userx;assistant"
    assert shared == [
        (len(answered), len("user;assistant"), answered),
        (len("user;assistantx;"), len("user;assistant"), "user;assistantx;"),
        (len(asked), len("user"), asked),
    ]


def test_a_templates_own_error_in_a_beginning_is_no_beginning() -> None:
    text = "{{ messages[1].content.x.y if messages | length == 1 else 'ok' }}"
    job = RenderJob(MESSAGES, beginnings=[Beginning(1, asks=True)])
    assert render_all(ChatTemplate(text, DAY), [job])[0].beginnings == [None]


def test_variables_and_tools_reach_the_template() -> None:
    text = "{{ tools | length if tools else tools is none }} {{ mood }} {{ eos_token }}"
    template = ChatTemplate(text, DAY, {"eos_token": "<s>"}, {"mood": "calm"})
    assert render_template(template, RenderJob(MESSAGES)) == "True calm <s>"
    tools = [{"type": "function", "function": {"name": "f"}}]
    assert render_template(template, RenderJob(MESSAGES, tools)) == "1 calm <s>"
    # As in transformers, a variable overrides a special token.
    other = ChatTemplate(text, DAY, {"eos_token": "<s>"}, {"mood": "calm", "eos_token": "x"})
    assert render_template(other, RenderJob(MESSAGES)) == "True calm x"
