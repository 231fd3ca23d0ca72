from __future__ import annotations

from pathlib import Path

import pytest

from tailrace import SpecError, load_spec

GOOD = """
dataset: golden-v2
model: {preset: gpt2-nano}
train:
  max_steps: 400
  learning_rate: 1e-3
"""


def _file(tmp_path: Path, text: str, name: str = "run.yaml") -> Path:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def _violations(path: Path, *overrides: str) -> dict[str, str]:
    with pytest.raises(SpecError) as raised:
        load_spec(path, overrides=overrides)
    return {v.field: v.description for v in raised.value.violations}


def test_yaml_and_json_give_the_same_spec(tmp_path: Path) -> None:
    yaml_spec = load_spec(_file(tmp_path, GOOD))
    json_text = (
        '{"dataset": "golden-v2", "model": {"preset": "gpt2-nano"},'
        ' "train": {"max_steps": 400, "learning_rate": 0.001}}'
    )
    assert load_spec(_file(tmp_path, "\ufeff" + json_text, "run.json")) == yaml_spec
    assert yaml_spec.train is not None
    assert yaml_spec.train.learning_rate == 1e-3


def test_overrides_set_values_and_make_blocks(tmp_path: Path) -> None:
    spec = load_spec(
        _file(tmp_path, GOOD + "infer:\n"),
        overrides=[
            "train.max_steps=5",
            "infer.eval_sets=[eval_v1]",
            "labels.team=search",
            "execution.train.timeout=1h30m",
        ],
    )
    assert spec.train is not None
    assert spec.train.max_steps == 5
    assert spec.infer is not None
    assert spec.infer.eval_sets == ["eval_v1"]
    assert spec.labels == {"team": "search"}
    assert spec.execution.train.timeout == 5400


def test_an_empty_override_unsets(tmp_path: Path) -> None:
    spec = load_spec(_file(tmp_path, GOOD), overrides=["train.warmup_steps="])
    assert spec.train is not None
    assert spec.train.warmup_steps == 0


def test_every_wrong_field_at_once_with_the_nearest_name(tmp_path: Path) -> None:
    text = "dataset: golden-v2\nmodel: {preset: gpt2-nano}\n"
    text += "train: {max_step: 1, batch_size: 0, sede: 1}\n"
    problems = _violations(_file(tmp_path, text))
    assert "did you mean 'max_steps'" in problems["train.max_step"]
    assert "at least 1" in problems["train.batch_size"]
    assert "did you mean 'seed'" in problems["train.sede"]


def test_overrides_that_cannot_be_set_are_refused(tmp_path: Path) -> None:
    path = _file(tmp_path, GOOD)
    assert "key.path=value" in _violations(path, "train")["train"]
    assert "key.path=value" in _violations(path, "train..sft=1")["train..sft=1"]
    assert _violations(path, "dataset.name=x")["dataset.name"] == (
        "cannot be set: dataset holds no keys"
    )


def test_an_override_that_is_not_yaml(tmp_path: Path) -> None:
    problems = _violations(_file(tmp_path, GOOD), "train.seed=[1")
    assert problems["train.seed"].startswith("is not YAML")


@pytest.mark.parametrize(("word", "value"), [("on", True), ("off", False), ("no", False)])
def test_switches_may_be_words_and_labels_are_text(tmp_path: Path, word: str, value: bool) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(GOOD + f"cache: {word}\nlabels: {{country: no, day: 2026-01-01}}\n")
    spec = load_spec(path)
    assert spec.cache is value
    assert spec.labels == {"country": "no", "day": "2026-01-01"}


TEMPLATE = "{% for m in messages %}{{ m['content'] }} ✓{% endfor %}"


@pytest.mark.parametrize("name", ["run.yaml", "run.json"])
def test_a_path_of_a_chat_template_is_read_next_to_the_run_file(tmp_path: Path, name: str) -> None:
    _file(tmp_path, TEMPLATE, "mine.jinja")
    model = '{"preset": "gpt2-nano", "chat_template": "mine.jinja"}'
    text = f'{{"dataset": "golden-v2", "model": {model}, "train": {{"max_steps": 1}}}}'
    spec = load_spec(_file(tmp_path, text, name))
    assert spec.model is not None
    assert spec.model.chat_template == TEMPLATE
    other = load_spec(_file(tmp_path, GOOD), overrides=["model.chat_template=./mine.jinja"])
    assert other.model == spec.model


def test_names_and_texts_of_chat_templates_are_no_paths(tmp_path: Path) -> None:
    for value in ("chatml", "{{ messages }}.jinja"):
        spec = load_spec(_file(tmp_path, GOOD), overrides=[f'model.chat_template="{value}"'])
        assert spec.model is not None
        assert spec.model.chat_template == value


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "none.jinja cannot be read: No such file or directory; relative paths begin at"),
        (b"{{ \xff }}", "is not UTF-8 text (byte 4)"),
        (b"plain", "is not a template: it has neither {{ nor {%"),
        (b"{{ x }}" * 30_000, "is longer than 200,000 characters"),
    ],
)
def test_unusable_files_of_chat_templates_are_named(
    tmp_path: Path, content: bytes | None, problem: str
) -> None:
    if content is not None:
        (tmp_path / "none.jinja").write_bytes(content)
    violations = _violations(_file(tmp_path, GOOD), "model.chat_template=none.jinja")
    assert problem in violations["model.chat_template"]
