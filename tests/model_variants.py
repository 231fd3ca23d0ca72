"""Variants of one tiny Llama as people meet them: what loads, and what is refused with which words.

A variant changes the parts of a folder; :func:`write` writes them out.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors.numpy import save

from tailrace.formats.model.tensors import expected_shapes

VOCABULARY = ["<eos>", "<end>", *(chr(code) for code in range(ord("a"), ord("z") + 1)), " "]
CONFIG: dict[str, Any] = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "vocab_size": 32,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 4,
    "max_position_embeddings": 64,
    "rms_norm_eps": 1e-5,
    "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
    "tie_word_embeddings": True,
    "eos_token_id": [1, 0],
}
TOKENIZER: dict[str, Any] = {
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [
        {
            "id": index,
            "content": VOCABULARY[index],
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for index in (0, 1)
    ],
    "normalizer": None,
    "pre_tokenizer": None,
    "post_processor": None,
    "decoder": None,
    "model": {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": {token: index for index, token in enumerate(VOCABULARY)},
        "merges": [],
    },
}
TEMPLATE = "{% for m in messages %}{{ m['role'] }} {{ m['content'] }}<end>{% endfor %}"
EMBEDDING, HEAD, NORM = "model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"
UP = "model.layers.0.mlp.up_proj.weight"
SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")


def weights() -> dict[str, Any]:
    """Tensors of :data:`CONFIG`."""
    generator = np.random.default_rng(0)
    return {
        name: (0.2 * generator.standard_normal(shape)).astype(np.float32)
        for name, shape in expected_shapes(CONFIG).items()
    }


@dataclass
class Folder:
    """The parts of a model folder, to be changed."""

    config: dict[str, Any] = field(default_factory=lambda: json.loads(json.dumps(CONFIG)))
    tensors: dict[str, Any] = field(default_factory=weights)
    tokenizer: dict[str, Any] = field(default_factory=lambda: json.loads(json.dumps(TOKENIZER)))
    settings: dict[str, Any] = field(default_factory=lambda: {"eos_token": "<eos>"})
    files: dict[str, bytes | str | None] = field(default_factory=dict)
    """Content of further files, or in place of the other parts; ``None`` removes one."""
    index: dict[str, str] | None = None
    """Where each tensor is stored, as the index says."""
    stored: dict[str, dict[str, Any]] | None = None
    """What is stored in each file; ``None``: everything in one."""


def write(folder: Folder, place: Path) -> Path:
    """Write a folder."""
    place.mkdir()
    stored = {"model.safetensors": folder.tensors} if folder.stored is None else folder.stored
    contents: dict[str, bytes | str | None] = {
        "config.json": json.dumps(folder.config),
        "tokenizer.json": json.dumps(folder.tokenizer),
        "tokenizer_config.json": json.dumps(folder.settings),
        "generation_config.json": json.dumps({"eos_token_id": [1, 0]}),
        "chat_template.jinja": TEMPLATE,
        **{name: save(tensors) for name, tensors in stored.items()},
    }
    if folder.index is not None:
        contents["model.safetensors.index.json"] = json.dumps({"weight_map": folder.index})
    for name, content in {**contents, **folder.files}.items():
        if content is not None:
            (place / name).parent.mkdir(exist_ok=True)
            raw = content.encode() if isinstance(content, str) else content
            (place / name).write_bytes(raw)
    return place


Change = Callable[[Folder], Any]


def config(**changes: Any) -> Change:
    """Change keys of config.json."""
    return lambda folder: folder.config.update(changes)


def without(*keys: str) -> Change:
    """Remove keys of config.json."""
    return lambda folder: [folder.config.pop(key) for key in keys]


def settings(**changes: Any) -> Change:
    """Change keys of tokenizer_config.json."""
    return lambda folder: folder.settings.update(changes)


def template(text: str | None) -> Change:
    """Write another chat template."""
    return lambda folder: folder.files.update({"chat_template.jinja": text})


def templates(*named: str) -> Change:
    """Write templates with names into the settings."""

    def change(folder: Folder) -> None:
        folder.files["chat_template.jinja"] = None
        listed = [{"name": name, "template": TEMPLATE} for name in named]
        folder.settings["chat_template"] = listed

    return change


def files(**contents: bytes | str | None) -> Change:
    """Write files; ``__`` in a name stands for a dot."""
    named = {name.replace("__", "."): content for name, content in contents.items()}
    return lambda folder: folder.files.update(named)


def only(**contents: bytes | str | None) -> Change:
    """Write files in place of the weights."""
    return files(**{"model__safetensors": None, **contents})


def cast(dtype: Any, part: str = "") -> Change:
    """Store the tensors whose name contains a text in another type."""

    def change(folder: Folder) -> None:
        for name, value in folder.tensors.items():
            if part in name:
                folder.tensors[name] = value.astype(dtype)

    return change


def renamed(rename: Callable[[str], str]) -> Change:
    """Store the tensors under other names."""

    def change(folder: Folder) -> None:
        folder.tensors = {rename(name): value for name, value in folder.tensors.items()}

    return change


def added(tensors: Callable[[dict[str, Any]], dict[str, Any]]) -> Change:
    """Add or replace tensors; ``None`` removes one."""

    def change(folder: Folder) -> None:
        merged = {**folder.tensors, **tensors(folder.tensors)}
        folder.tensors = {name: value for name, value in merged.items() if value is not None}

    return change


def spoilt(name: str, value: float) -> Change:
    """Put a value into a tensor."""
    return lambda folder: folder.tensors[name].reshape(-1).__setitem__(3, value)


def tokenizer(**changes: Any) -> Change:
    """Change parts of tokenizer.json."""
    return lambda folder: folder.tokenizer.update(changes)


def sharded(change: Change | None = None) -> Change:
    """Store the tensors in two files with an index."""

    def apply(folder: Folder) -> None:
        names = sorted(folder.tensors)
        parts = [dict.fromkeys(names[:9]), dict.fromkeys(names[9:])]
        folder.stored = {
            file: {name: folder.tensors[name] for name in part}
            for file, part in zip(SHARDS, parts, strict=True)
        }
        folder.index = {
            name: file for file, part in zip(SHARDS, parts, strict=True) for name in part
        }
        if change is not None:
            change(folder)

    return apply


def _duplicate(folder: Folder) -> None:
    assert folder.stored is not None
    name = next(iter(folder.stored[SHARDS[0]]))
    folder.stored[SHARDS[1]][name] = folder.tensors[name] + 1


def _place(name: str) -> Change:
    def change(folder: Folder) -> None:
        assert folder.index is not None
        folder.index[NORM] = name

    return change


def _unlist(folder: Folder) -> None:
    assert folder.index is not None
    folder.index = {name: file for name, file in folder.index.items() if file == SHARDS[0]}


def _lose(folder: Folder) -> None:
    assert folder.stored is not None
    del folder.stored[SHARDS[1]]


def _swap(folder: Folder) -> None:
    assert folder.index is not None
    folder.index = {name: SHARDS[file == SHARDS[0]] for name, file in folder.index.items()}


def _split(tensor: Any, *endings: str) -> dict[str, Any]:
    """Return codes and scales in place of the tensor :data:`UP`."""
    codes = {UP.removesuffix(".weight") + end: tensor.astype(np.int32) for end in endings}
    return {UP: None, **codes}


def _raw(folder: Folder) -> bytes:
    return bytes(save(folder.tensors))


LOADS: dict[str, Change] = {
    "plain": lambda folder: None,
    "float16": cast(np.float16),
    "bfloat16": cast(ml_dtypes.bfloat16),
    "float64": cast(np.float64),
    "mixed": cast(np.float16, "mlp"),
    "the head is the embedding": added(lambda old: {HEAD: old[EMBEDDING]}),
    "only the head": added(lambda old: {HEAD: old[EMBEDDING], EMBEDDING: None}),
    "old buffers": added(lambda _: {"model.rotary_emb.inv_freq": np.ones(2, np.float32)}),
    "no prefix": renamed(lambda name: name.removeprefix("model.")),
    "shards": sharded(),
    "a tensor in two shards": sharded(_duplicate),
    "a file and an index": lambda folder: setattr(folder, "index", {NORM: SHARDS[0]}),
    "no quantization": config(quantization_config=None),
    "code that is not run": config(auto_map={"AutoModelForCausalLM": "x.Y"}),
    "no class": without("architectures"),
    "another class": config(architectures=["LlamaModel"]),
    "head_dim is null": config(head_dim=None),
    "theta of version 4": config(rope_theta=10000, rope_parameters=None),
    "swish": config(hidden_act="swish"),
    "unknown keys": config(foo={"bar": [1]}),
    "one end": config(eos_token_id=0),
    "no generation settings": files(generation_config__json=None),
    "templates by name": templates("default", "rag"),
    "an additional template": files(**{"additional_chat_templates/rag.jinja": "T"}),
    "no template": template(None),
    "a template with BOS": template("{{ bos_token }}" + TEMPLATE),
    "a template with a switch": template(
        TEMPLATE + "{% if enable_thinking is defined and not enable_thinking %}x{% endif %}"
    ),
    "a template with a clock": template("{{ strftime_now('%Y') }}" + TEMPLATE),
    "a template that may refuse": template(
        "{% if messages[0]['role'] == 'tool' %}{{ raise_exception('no') }}{% endif %}" + TEMPLATE
    ),
    "a template that marks answers": template(
        TEMPLATE + "{% generation %}{% endgeneration %}{% for x in [1] %}{% break %}{% endfor %}"
    ),
    "the end as an object": settings(eos_token={"content": "<eos>", "__type": "AddedToken"}),
    "an unknown tokenizer class": settings(tokenizer_class="FancyTokenizer"),
    "null settings": settings(bos_token=None, model_max_length=None, chat_template=None),
    "a tokenizer that cuts": tokenizer(
        truncation={
            "direction": "Right",
            "max_length": 2,
            "strategy": "LongestFirst",
            "stride": 0,
        }
    ),
}
"""By name: changes after which the model computes the same as before."""

REFUSED: dict[str, tuple[Change, str]] = {
    "fp8": (cast(ml_dtypes.float8_e4m3fn, "mlp"), r"holds F8_E4M3.*\(FP8\).*before its"),
    "int8": (cast(np.int8, "mlp"), r"holds I8.*before its quantization"),
    "NaN": (spoilt(NORM, np.nan), r"model.norm.weight holds .*NaN or infinite.*damaged"),
    "infinite": (spoilt(UP, np.inf), r"0.mlp.up_proj.weight holds .*NaN or infinite"),
    "another head": (
        added(lambda old: {HEAD: old[EMBEDDING] + 1}),
        r"lm_head.weight differs .* set tie_word_embeddings to false",
    ),
    "a head of another type": (
        added(lambda old: {HEAD: old[EMBEDDING].astype(np.float16)}),
        r"lm_head.weight differs",
    ),
    "a larger head": (
        added(lambda old: {HEAD: np.ones((40, 16), np.float32)}),
        r"lm_head.weight is \[40, 16\], not \[32, 16\]",
    ),
    "no head": (config(tie_word_embeddings=False), r"missing tensors: lm_head.*to true"),
    "a missing tensor": (added(lambda _: {UP: None}), r"missing tensors: model.layers.0.mlp.up"),
    "one more layer": (config(num_hidden_layers=1), r"unknown tensors: model.layers.1.*and 4 more"),
    "one less layer": (config(num_hidden_layers=3), r"missing tensors: model.layers.2"),
    "another vocabulary": (config(vocab_size=40), r"embed_tokens.weight is \[32, 16\]"),
    "torch.compile": (renamed("_orig_mod.{}".format), r"'_orig_mod.' come from torch.compile"),
    "DataParallel": (renamed("module.{}".format), r"'module.' come from DataParallel"),
    "an unmerged adapter": (renamed("base_model.model.{}".format), r"merge_and_unload"),
    "adapter layers": (
        renamed(lambda name: name.replace("q_proj.weight", "q_proj.base_layer.weight")),
        r"merge_and_unload",
    ),
    "a part of something": (renamed("language_model.{}".format), r"a multimodal model"),
    "swapped shards": (sharded(_swap), r"places tensors in files without them"),
    "a missing shard": (sharded(_lose), rf"{SHARDS[1]}"),
    "a shard that is not listed": (sharded(_unlist), r"missing tensors"),
    "a path out": (sharded(_place("../x.safetensors")), r"not the name of a safetensors file"),
    "a path down": (sharded(_place("sub/x.safetensors")), r"not the name of a safetensors file"),
    "no index": (sharded(lambda folder: setattr(folder, "index", None)), r"parts of weights"),
    "an LFS pointer": (
        only(model__safetensors="version https://git-lfs.github.com/spec/v1\noid sha256:aa\n"),
        r"git lfs pull",
    ),
    "an LFS tokenizer": (
        files(tokenizer__json="version https://git-lfs.github.com/spec/v1\noid sha256:aa\n"),
        r"git lfs pull",
    ),
    "no bytes": (only(model__safetensors=""), r"model.safetensors is empty"),
    "cut weights": (
        lambda folder: only(model__safetensors=_raw(folder)[:-9])(folder),
        r"cut or damaged: .* fetch it again",
    ),
    "no safetensors": (only(model__safetensors=b"PK\x03\x04" * 9), r"not a safetensors file"),
    "pickled": (only(pytorch_model__bin=b"PK\x03\x04"), r"pickle.*model.save_pretrained"),
    "GGUF": (only(model__gguf=b"GGUF"), r"GGUF file: convert it with"),
    "other names": (only(consolidated__safetensors=b"x"), r"model.save_pretrained\(FOLDER\)"),
    "an adapter": (
        only(config__json=None, adapter_config__json="{}", adapter_model__safetensors=b"x"),
        r"PEFT adapter .* merge it into its base model",
    ),
    "quantized": (config(quantization_config={"bits": 4}), r"before its quantization"),
    "quantized by a name": (
        config(quantization_config={"quant_method": "gptq", "bits": 4}),
        r"quantized with GPTQ \(quantization_config\).*before its quantization",
    ),
    "quantized by its tensors": (
        added(lambda old: _split(old[UP], ".qweight", ".qzeros", ".scales")),
        r"unknown tensors: .*qweight.*quantized with AWQ.*before its quantization",
    ),
    "another family": (config(model_type="gemma"), r"'gemma' is not supported; known: gpt2, llama"),
    "no family": (without("model_type"), r"a missing model_type is not supported"),
    "a nested model": (
        config(model_type="mistral3", text_config=CONFIG),
        r"language model is in text_config",
    ),
    "longrope": (
        config(rope_parameters={"rope_type": "longrope", "short_factor": [1]}),
        r"long_factor must be a list of \d+ numbers.*short_factor must be a list",
    ),
    "a rope type that is no text": (config(rope_parameters={"rope_type": [1]}), r"rope_type must"),
    "rotation by kind of layer": (
        config(rope_parameters={"full_attention": {"rope_theta": 1e6}}),
        r"rope_parameters.full_attention is not supported",
    ),
    "partial rotation": (config(partial_rotary_factor=0.5), r"partial_rotary_factor must be 1.0"),
    "an unknown activation": (config(hidden_act="xielu"), r"hidden_act must be one of gelu_new"),
    "a context of 64.0": (config(max_position_embeddings=64.0), r"whole number .* not 64.0"),
    "text for a number": (config(num_hidden_layers="2"), r"whole number .* not '2'"),
    "true for a number": (config(vocab_size=True), r"whole number .* not True"),
    "10^18 layers": (config(num_hidden_layers=10**18), r"num_hidden_layers must be at most"),
    "10^18 channels": (config(hidden_size=10**18), r"hidden_size must be at most"),
    "a missing size": (without("hidden_size"), r"hidden_size is missing"),
    "no positive size": (config(num_attention_heads=0), r"at least 1, not 0"),
    "heads that do not divide": (config(num_attention_heads=3), r"multiple of 2 key heads"),
    "ties as text": (config(tie_word_embeddings="true"), r"must be true or false, not 'true'"),
    "a byte order mark": (
        files(config__json=b"\xef\xbb\xbf" + json.dumps(CONFIG).encode()),
        r"config.json begins with a byte order mark",
    ),
    "UTF-16": (files(config__json=json.dumps(CONFIG).encode("utf-16")), r"UTF-16 text"),
    "a list for a config": (files(config__json="[]"), r"must hold a JSON object"),
    "a deep config": (files(config__json='{"a":' * 9999), r"config.json is not JSON"),
    "a long number": (files(config__json='{"a": ' + "9" * 99 + "}"), r"99 digits"),
    "a text for an end": (
        files(generation_config__json='{"eos_token_id": "2"}'),
        r"generation_config.json cannot be used: eos_token_id '2' is neither",
    ),
    "a fraction for an end": (config(eos_token_id=[2.0]), r"eos_token_id \[2.0\] is neither"),
    "broken generation settings": (files(generation_config__json="{"), r"is not JSON"),
    "no tokenizer": (files(tokenizer__json=None), r"tokenizer"),
    "an empty tokenizer": (files(tokenizer__json="{}"), r"is not a tokenizer: it has no model"),
    "no end of sequence": (settings(eos_token=None), r"names no end-of-sequence token: add"),
    "no settings": (files(tokenizer_config__json=None), r"names no end-of-sequence token: add"),
    "an end that is no token": (settings(eos_token="</s>"), r"not in the vocabulary"),
    "settings of another type": (settings(padding_side=3), r"must be 'left' or 'right'"),
    "an end that is not embedded": (
        lambda folder: (
            folder.tokenizer["added_tokens"].append(
                {**folder.tokenizer["added_tokens"][0], "id": 40, "content": "<far>"}
            ),
            folder.settings.update(eos_token="<far>"),
        ),
        r"token 40, but the model embeds 32 tokens only",
    ),
    "no default template": (templates("rag", "tool_use"), r"none of them named 'default'"),
    "a template that always refuses": (
        template("{{ raise_exception('needs a system prompt') }}"),
        r"refuses every prompt|needs a system prompt",
    ),
    "a broken template": (template("{% for m in messages %}"), r"[Ss]yntax ?[Ee]rror"),
    "an empty template": (template("\n"), r"has an empty chat template"),
}
"""By name: changes after which no run could use the model, and the words that say so."""
