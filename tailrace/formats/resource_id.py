"""What ids and resource names look like (AIP-122)."""

from __future__ import annotations

RESOURCE_ID = r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?"
"""A resource id: 1-63 characters, the form of RFC 1034 labels."""

RESOURCE_ID_FORM = "1-63 of a-z, 0-9, '-', starting with a letter and not ending with '-'"
"""The same in words."""

VERSIONED_ID = f"{RESOURCE_ID}(@[1-9][0-9]{{0,8}})?"
"""``name`` or ``name@version``."""

MODEL_SOURCE = r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)?"
"""A hub id or the name of an imported model."""

RUN_UID = "[0-9a-f]{32}"
"""A run's uid, which is accepted in place of its id; no id looks like one."""

RUN_NAME = f"runs/({RUN_UID}|{RESOURCE_ID})"
"""A run's name."""

RUN_NAME_FORM = "a run's name, such as 'runs/my-run'"
"""The same in words."""
