"""Forms of ids and resource names (AIP-122)."""

from __future__ import annotations

RESOURCE_ID = r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?"
"""Pattern of a resource id: 1-63 characters in the form of RFC 1034 labels."""

RESOURCE_ID_FORM = "1-63 of a-z, 0-9, '-', starting with a letter and not ending with '-'"
"""Form of a resource id in words."""

VERSIONED_ID = f"{RESOURCE_ID}(@[1-9][0-9]{{0,8}})?"
"""Pattern of ``name`` or ``name@version``."""

RUN_UID = "[0-9a-f]{32}"
"""Pattern of a run's uid, which is accepted in place of its id; ids never match it."""

RUN_NAME = f"runs/({RUN_UID}|{RESOURCE_ID})"
"""Pattern of a run's name."""

MODEL_REFERENCE = f"models/{RESOURCE_ID}(@([1-9][0-9]{{0,8}}|{RESOURCE_ID}))?"
"""Pattern of a model's newest version, of a version by its number, or by an alias."""

MODEL_NAME = (
    rf"((?!runs/)[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?|{MODEL_REFERENCE})"
)
"""Pattern of a hub id or the name of a model."""

RUN_MODEL = f"{RUN_NAME}(@[1-9][0-9]{{0,8}})?"
"""Pattern of a run's model: its final one, or that of a checkpoint, ``runs/{run}@{step}``."""

MODEL_SOURCE = f"({MODEL_NAME}|{RUN_MODEL})"
"""Pattern of a model that a run starts from."""

RUN_NAME_FORM = "a run's name, such as 'runs/my-run'"
"""Form of a run's name in words."""
