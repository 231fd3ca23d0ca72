from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.formats.data.trace import Trace
from training.data.rendering import CHAT_TEMPLATE, render_prompt
from training.data.tokenizer import END_OF_TEXT, encode, load_tokenizer, train_tokenizer
from training.errors import ModelConfigError, ModelNotFoundError
from training.loop.final_model import save_folder
from training.models.family import Model, Params


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=50))
def test_every_text_survives(tokenizer: Any, text: str) -> None:
    if END_OF_TEXT not in text:
        assert tokenizer.decode(encode(tokenizer, text)) == text


def test_deterministic(traces: list[Trace]) -> None:
    texts = [trace.prompt for trace in traces]
    first, second = (train_tokenizer(texts, 300, 64) for _ in range(2))
    assert first.backend_tokenizer.to_str() == second.backend_tokenizer.to_str()


def test_size_and_special_token(tokenizer: Any) -> None:
    assert len(tokenizer) == 320
    assert tokenizer.eos_token_id == tokenizer.pad_token_id == 0
    assert encode(tokenizer, END_OF_TEXT) == [0]


def test_saved_with_its_template_and_read_back(
    tmp_path: Path, model: Model, params: Params, tokenizer: Any
) -> None:
    save_folder(tmp_path, model, params, tokenizer)
    loaded = load_tokenizer(tmp_path)
    assert loaded.chat_template == CHAT_TEMPLATE
    text = render_prompt(tokenizer, "What is 1 + 2?")
    assert render_prompt(loaded, "What is 1 + 2?") == text
    assert encode(loaded, text) == encode(tokenizer, text)


def test_a_template_of_its_own_is_kept(
    tmp_path: Path, model: Model, params: Params, tokenizer: Any
) -> None:
    save_folder(tmp_path, model, params, tokenizer)
    own = "{% for m in messages %}<{{ m['content'] }}>{% endfor %}"
    (tmp_path / "chat_template.jinja").write_text(own)
    assert render_prompt(load_tokenizer(tmp_path), "hi") == "<hi>"
    (tmp_path / "chat_template.jinja").write_text("{{ raise_exception('only in French') }}")
    with pytest.raises(ModelConfigError, match="only in French"):
        render_prompt(load_tokenizer(tmp_path), "hi")


def test_refused_folders(tmp_path: Path, model: Model, params: Params, tokenizer: Any) -> None:
    with pytest.raises(ModelNotFoundError, match="no tokenizer"):
        load_tokenizer(tmp_path)
    save_folder(tmp_path, model, params, tokenizer)
    settings = tmp_path / "tokenizer_config.json"
    content = json.loads(settings.read_text())
    settings.write_text(json.dumps({k: v for k, v in content.items() if k != "eos_token"}))
    with pytest.raises(ModelConfigError, match="names no end-of-sequence token"):
        load_tokenizer(tmp_path)


def test_a_tokenizer_that_cannot_be_read_is_told(
    tmp_path: Path, model: Model, params: Params, tokenizer: Any
) -> None:
    save_folder(tmp_path, model, params, tokenizer)
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    content["model"]["type"] = "Unheard"
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(ModelConfigError, match="cannot be loaded"):
        load_tokenizer(tmp_path)


def test_no_code_of_a_model_is_run(
    tmp_path: Path, model: Model, params: Params, tokenizer: Any
) -> None:
    save_folder(tmp_path, model, params, tokenizer)
    marker = tmp_path / "ran"
    (tmp_path / "evil.py").write_text(f"open({str(marker)!r}, 'w')\nclass Evil: pass\n")
    settings = tmp_path / "tokenizer_config.json"
    content = json.loads(settings.read_text())
    content |= {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Evil", None]}}
    settings.write_text(json.dumps(content))
    with contextlib.suppress(ModelConfigError):
        load_tokenizer(tmp_path)
    assert not marker.exists()
