from __future__ import annotations

import pytest

from services.domain.content.dataset import DatasetReference
from services.domain.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "dataset_id", "version"),
    [("a", "a", None), ("golden-v2", "golden-v2", None), ("golden-v2@12", "golden-v2", 12)],
)
def test_references_are_read_and_written(text: str, dataset_id: str, version: int | None) -> None:
    reference = DatasetReference.parse(text, "spec.dataset")
    assert reference == DatasetReference(dataset_id, version)
    assert str(reference) == text
    assert DatasetReference.parse_name(f"datasets/{text}") == reference


@pytest.mark.parametrize(
    "text", ["", "@1", "a@", "a@0", "a@01", "a@-1", "A", "-a", "a-", "a/b", "a@1\n", "x" * 64, "ä"]
)
def test_everything_else_is_refused_at_its_field(text: str) -> None:
    with pytest.raises(InvalidInput) as error:
        DatasetReference.parse(text, "spec.dataset")
    assert error.value.violations[0].field == "spec.dataset"
    with pytest.raises(InvalidInput):
        DatasetReference.parse_name(f"datasets/{text}")


@pytest.mark.parametrize("name", ["a", "dataset/a", "models/a", "datasets"])
def test_resource_names_have_their_collection(name: str) -> None:
    with pytest.raises(InvalidInput) as error:
        DatasetReference.parse_name(name)
    assert error.value.violations[0].field == "name"
