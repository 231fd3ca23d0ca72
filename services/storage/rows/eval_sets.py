"""Imported eval sets in the database."""

from __future__ import annotations

from services.domain.content.eval_set import EvalSet
from services.storage.rows.versions import VersionTable

EVAL_SETS = VersionTable(
    EvalSet,
    "eval_sets",
    id_column="eval_set_id",
    count_column="item_count",
    missing=(
        "EVAL_SET_NOT_FOUND",
        "`tailrace evalsets import` makes one, `list` names all",
    ),
)
"""Versions of eval sets."""
