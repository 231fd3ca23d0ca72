"""Random messages of any type, from its descriptor."""

from __future__ import annotations

from functools import cache
from typing import Any

from google.protobuf import message_factory
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import strategies as st

from tailrace.protomap import is_map, is_repeated

# The stubs lack the descriptors' newer attributes.
Descriptor = Any

MAX_DEPTH = 5
"""Depth from which messages stay empty."""

_SPECIAL_TEXTS = (
    "",
    "r",
    "runs/r",
    "runs/missing",
    "runs/r@10",
    "datasets/golden-v2",
    "golden-v2",
    "golden-v2@1",
    "dataset:train",
    "models/m",
    "models/m@prod",
    "workers/w1",
    "baselines/b",
    "evalsets/e",
    "tokens/abcdefghijkm",
    "projects/default/quotas",
    "gpt2-nano",
    "answer_correctness",
    "cpu",
    "team",
    "create_time desc",
    'state = RUNNING AND labels.team = "a"',
    "create_time >= 2026-01-01T00:00:00Z",
    "uploads/123e4567-e89b-42d3-a456-426614174000/blobs/" + "0" * 64 + "/1",
    "blobs/" + "0" * 64,
    "artifacts/" + "0" * 64,
    "../../etc/passwd",
    "a\0b",
    "\ud7ff\U0010ffff\u202e",
    "%s%n{{ 7 * 7 }}",
    "{% for m in messages %}{{ m.content }}{% endfor %}",
    "9" * 400,
    "x" * 5000,
)

_NUMBERS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}


class Texts:
    """Texts of earlier responses, such as names, page tokens and leases, to send back."""

    MOST = 500

    def __init__(self) -> None:
        self._texts: list[str] = list(_SPECIAL_TEXTS)

    def learn(self, message: Any) -> None:
        """Keep the texts of a response."""
        for field, value in message.ListFields():
            if is_map(field):
                continue
            for entry in list(value)[:3] if is_repeated(field) else [value]:
                if field.message_type is not None:
                    self.learn(entry)
                elif isinstance(entry, str) and 0 < len(entry) < 300:
                    self._keep(entry)

    def _keep(self, text: str) -> None:
        if text in self._texts:
            return
        if len(self._texts) >= self.MOST:
            # Special texts stay.
            del self._texts[len(_SPECIAL_TEXTS)]
        self._texts.append(text)

    def any_text(self) -> st.SearchStrategy[str]:
        """Return a strategy for special, learnt and random texts."""
        known = st.integers(0, 10**6).map(lambda number: self._texts[number % len(self._texts)])
        return st.one_of(known, known, st.text(max_size=12))


class Messages:
    """Strategies for messages."""

    def __init__(self, texts: Texts) -> None:
        self._texts = texts
        self.of = cache(self._of)
        """Function that returns the strategy for messages of a descriptor."""

    def _of(self, descriptor: Descriptor, depth: int = 0) -> st.SearchStrategy[Any]:
        make = message_factory.GetMessageClass(descriptor)
        fields = list(descriptor.fields) if depth < MAX_DEPTH else []

        @st.composite
        def messages(draw: st.DrawFn) -> Any:
            message = make()
            if not fields:
                return message
            # Large messages have few of their fields, so that drawing them stays cheap.
            most = 6 if depth == 0 else 4
            chosen = draw(st.lists(st.sampled_from(fields), max_size=most, unique_by=id))
            for field in chosen:
                self._fill(draw, message, field, depth)
            return message

        return messages()

    def _fill(self, draw: st.DrawFn, message: Any, field: Any, depth: int) -> None:
        if is_map(field):
            key, value = (field.message_type.fields_by_name[name] for name in ("key", "value"))
            target = getattr(message, field.name)
            for _ in range(draw(st.integers(0, 2))):
                name = draw(self._scalar(key))
                if value.message_type is not None:
                    target[name].CopyFrom(draw(self.of(value.message_type, depth + 1)))
                else:
                    target[name] = draw(self._scalar(value))
        elif is_repeated(field):
            target = getattr(message, field.name)
            for _ in range(draw(st.integers(0, 3))):
                target.append(draw(self._value(field, depth)))
        elif field.message_type is not None:
            getattr(message, field.name).CopyFrom(draw(self._value(field, depth)))
        else:
            setattr(message, field.name, draw(self._value(field, depth)))

    def _value(self, field: Any, depth: int) -> st.SearchStrategy[Any]:
        if field.message_type is not None:
            strategy: st.SearchStrategy[Any] = self.of(field.message_type, depth + 1)
            return strategy
        return self._scalar(field)

    def _scalar(self, field: Any) -> st.SearchStrategy[Any]:
        kind = field.cpp_type
        if field.type == FieldDescriptor.TYPE_BYTES:
            return st.binary(max_size=40)
        if kind == FieldDescriptor.CPPTYPE_STRING:
            return self._texts.any_text()
        if kind == FieldDescriptor.CPPTYPE_ENUM:
            numbers = [value.number for value in field.enum_type.values]
            return st.sampled_from([*numbers, *numbers, 999, -1])
        if kind == FieldDescriptor.CPPTYPE_BOOL:
            return st.booleans()
        if kind in _NUMBERS:
            low, high = _NUMBERS[kind]
            return st.one_of(st.integers(0, 20), st.sampled_from([low, high]))
        return st.sampled_from([0.0, 0.5, 1.0, -1.0, 1e-30, 1e30, float("nan"), float("inf")])
