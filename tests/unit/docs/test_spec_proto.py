from __future__ import annotations

from dataclasses import dataclass

import pytest

from docs.generate import spec_proto
from tailrace.formats.schema import key
from tailrace.formats.spec.train_spec import FinalModel

SOURCE = """\
// Kept: the root's own.
message Root {
  // Exactly one of them.
  oneof length {
    // Stale.
    double epochs = 1;
  }
  reserved 4 to 7;
  // Not in the schema.
  Child child = 2;
}

message Child {
  // Stale, over
  // two lines.
  optional int32 steps = 1;
}
"""


@dataclass(frozen=True)
class Child:
    """Child of the root.

    More about it.
    """

    steps: int = key("Steps ``between`` points.", default=10, minimum=1)
    wait: float = key("Longest wait.", unit="seconds", default=60.0, above=0, duration=True)
    names: list[str] = key("Names.", default=[], max_length=2, item_length=1000)


@dataclass(frozen=True)
class Root:
    """Not taken."""

    epochs: float | None = key("Passes.", default=None, above=0, maximum=3)
    child: Child | None = key("Child block.", default=None)
    rate: float = key("Rate.", unit="nats", default=2e-5)


def test_the_proto_is_complete() -> None:
    committed = spec_proto.PROTO.read_text(encoding="utf-8")
    assert committed == spec_proto.render(committed), "run `make protos` and commit"


def test_texts_and_fields_come_from_the_schema() -> None:
    completed = spec_proto.render(SOURCE, Root)
    assert (
        completed
        == """\
// Kept: the root's own.
message Root {
  // Exactly one of them.
  oneof length {
    // Passes. Above 0, at most 3.
    double epochs = 1;
  }
  reserved 4 to 7;
  // Child block.
  Child child = 2;
  // Rate, in nats. Default 2e-5.
  optional double rate = 8;
}

// Child of the root.
message Child {
  // Steps ``between`` points. Default 10; at least 1.
  optional int32 steps = 1;
  // Longest wait. Default 60 s; above 0 s.
  google.protobuf.Duration wait = 2;
  // Names. At most 2, each of at most 1,000 characters.
  repeated string names = 3;
}
"""
    )
    assert spec_proto.render(completed, Root) == completed


def test_a_block_that_the_proto_lacks_is_declared_by_hand() -> None:
    @dataclass(frozen=True)
    class Parent:
        model: FinalModel = key("Model.", default=FinalModel.LAST)

    with pytest.raises(ValueError, match=r"Parent\.model is not in run_spec\.proto"):
        spec_proto.render("message Parent {\n}\n", Parent)
