from __future__ import annotations

import hashlib
from pathlib import Path

from tailrace.formats import catalog
from tailrace.formats.model.chat_template import template_reads_clock

TRAINING = Path(__file__).parents[4] / "training"


def digests(folder: str, ending: str) -> dict[str, str]:
    """Return the digest of each file in a folder of the training library, by its name."""
    return {
        path.name.removesuffix(ending): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (TRAINING / folder).glob(f"*{ending}")
    }


def test_digests_are_those_of_the_shipped_files() -> None:
    assert digests("evalsets", ".jsonl") == catalog.EVAL_SETS
    templates = {name: template.sha256 for name, template in catalog.CHAT_TEMPLATES.items()}
    assert digests("chat_templates", ".jinja") == templates


def test_it_is_known_which_shipped_templates_read_the_clock() -> None:
    for name, template in catalog.CHAT_TEMPLATES.items():
        text = (TRAINING / "chat_templates" / f"{name}.jinja").read_text(encoding="utf-8")
        assert template_reads_clock(text) is template.reads_clock
    assert any(template.reads_clock for template in catalog.CHAT_TEMPLATES.values())
