"""Rules for ids and descriptions that clients choose."""

from __future__ import annotations

import re

from tailrace.formats.limits import MAX_DESCRIPTION
from tailrace.formats.schema import Violation
from tailrace.formats.spec.run_spec import RESOURCE_ID, RESOURCE_ID_FORM


def id_violations(field: str, value: str) -> list[Violation]:
    """Return the violations of a resource id (AIP-122)."""
    if re.fullmatch(RESOURCE_ID, value):
        return []
    return [Violation(field, f"{value[:200]!r} is not an id: {RESOURCE_ID_FORM}")]


def description_violations(field: str, value: str) -> list[Violation]:
    """Return the violations of a description."""
    if "\0" in value:
        return [Violation(field, "contains a NUL character")]
    if len(value) > MAX_DESCRIPTION:
        return [Violation(field, f"has {len(value)} characters, at most {MAX_DESCRIPTION} allowed")]
    return []
