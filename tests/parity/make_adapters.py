"""Make the adapters that test_adapters.py compares with; needs PyTorch and PEFT, unlike the tests.

Run ``python -m tests.parity.make_adapters`` where torch, transformers and peft are installed. It
puts random adapters on models that make_goldens.py wrote, and writes what PEFT saves and computes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from tests.parity.cases import GOLDENS, VOCABULARY

FOLDER = Path(__file__).parent / "adapters"
CASES: dict[str, dict[str, Any]] = {
    "gpt2": {"target_modules": ["c_attn", "mlp.c_proj"], "fan_in_fan_out": True},
    "llama": {"target_modules": ["q_proj", "v_proj", "down_proj"]},
}


def main() -> None:
    """Write a folder for each case."""
    for name, changes in CASES.items():
        torch.manual_seed(0)
        base = AutoModelForCausalLM.from_pretrained(GOLDENS / name)
        config = LoraConfig(r=3, lora_alpha=6.0, task_type="CAUSAL_LM", **changes)
        model = get_peft_model(base, config).eval()
        for parameter_name, parameter in model.named_parameters():
            if "lora_" in parameter_name:
                torch.nn.init.normal_(parameter, std=0.3)
        tokens = torch.randint(0, VOCABULARY, (2, 10))
        with torch.no_grad():
            logits = model(tokens).logits
        config.base_model_name_or_path = name
        model.save_pretrained(FOLDER / name)
        (FOLDER / name / "README.md").unlink()
        save_file({"tokens": tokens, "logits": logits}, FOLDER / name / "expected.safetensors")


if __name__ == "__main__":
    main()
