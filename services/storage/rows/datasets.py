"""Datasets in the database."""

from __future__ import annotations

from services.domain.content.dataset import Dataset
from services.storage.rows.versions import VersionTable

DATASETS = VersionTable(
    Dataset,
    "datasets",
    id_column="dataset_id",
    count_column="trace_count",
    missing=(
        "DATASET_NOT_FOUND",
        "`tailrace datasets seed` or `import` makes one, `list` names all",
    ),
)
"""Versions of datasets."""
