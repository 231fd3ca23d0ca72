"""Make the adapters that test_adapters.py compares with; needs PyTorch and PEFT, unlike the tests.

Run ``python -m tests.parity.make_adapters [CASE ...]`` where torch, transformers and peft are
installed. It puts random adapters on models that make_goldens.py wrote, and writes what PEFT saves
and computes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from tests.parity.cases import ADAPTER_TARGETS, ADAPTERS, GOLDENS, VOCABULARY


def main(names: list[str]) -> None:
    """Write a folder for each case."""
    for name in names:
        torch.manual_seed(0)
        base = AutoModelForCausalLM.from_pretrained(GOLDENS / name)
        config = LoraConfig(
            r=3,
            lora_alpha=6.0,
            task_type="CAUSAL_LM",
            target_modules=ADAPTER_TARGETS[name] or "all-linear",
            fan_in_fan_out=base.config.model_type == "gpt2",
        )
        model = get_peft_model(base, config).eval()
        for parameter_name, parameter in model.named_parameters():
            if "lora_" in parameter_name:
                torch.nn.init.normal_(parameter, std=0.1)
        tokens = torch.randint(0, VOCABULARY, (2, 10))
        with torch.no_grad():
            logits = model(tokens).logits
        config.base_model_name_or_path = name
        model.save_pretrained(ADAPTERS / name)
        (ADAPTERS / name / "README.md").unlink()
        sort_targets(ADAPTERS / name / "adapter_config.json")
        save_file({"tokens": tokens, "logits": logits}, ADAPTERS / name / "expected.safetensors")


def sort_targets(path: Path) -> None:
    """Sort the names of the layers, whose order in the file is that of a set."""
    content = json.loads(path.read_text())
    content["target_modules"].sort()
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:] or list(ADAPTER_TARGETS))
