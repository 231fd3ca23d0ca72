"""A draft as the page shows it: fields with texts, help and errors, in blocks."""

from __future__ import annotations

import enum
import functools
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tailrace.console.new_run.draft import Draft, is_long
from tailrace.formats.schema import Violation
from tailrace.formats.spec.attribute_docs import attribute_texts
from tailrace.formats.spec.run_spec import RunSpec
from tailrace.formats.spec.schema_keys import KeyForm, SchemaKey, schema_keys
from tailrace.formats.wording import digits

_ROWS = {KeyForm.TEXT: 6, KeyForm.TEXTS: 3, KeyForm.MAPPING: 3}
"""Lines that a field of several lines shows at first."""

_MAX_ROWS = 16

RUN_ID = "run_id"
"""Path of the requested run id in violations."""

_INPUT_MODES = {KeyForm.INTEGER: "numeric", KeyForm.NUMBER: "decimal"}


@dataclass(frozen=True)
class Choice:
    """One word of a choice."""

    value: str
    """Word that the spec takes; empty for the default."""
    label: str
    """Text to show."""


@dataclass(frozen=True)
class FieldView:
    """A field of the form."""

    path: str
    """Path of the key, and name of the field."""
    key: SchemaKey
    """Key of the schema."""
    text: str
    """Text of the field; empty if the key is not set."""
    errors: Sequence[str]
    """Problems of the value."""
    suggestions: Sequence[str] = ()
    """Names that the field could hold."""

    is_field = True

    @property
    def id(self) -> str:
        """Id of the element."""
        return element_id(self.path)

    @property
    def control(self) -> str:
        """Kind of control: ``select``, ``area`` or ``line``."""
        if self.key.form in (KeyForm.CHOICE, KeyForm.SWITCH):
            return "select"
        is_area = self.key.form in (KeyForm.TEXTS, KeyForm.MAPPING) or is_long(self.key)
        return "area" if is_area else "line"

    @property
    def rows(self) -> int:
        """Number of lines that an area shows."""
        lines = self.text.count("\n") + 2
        return min(max(lines, _ROWS.get(self.key.form, 1)), _MAX_ROWS)

    @property
    def input_mode(self) -> str:
        """Keyboard that a phone shows."""
        return _INPUT_MODES.get(self.key.form, "text")

    @property
    def default(self) -> str:
        """Default value in words; empty if there is none."""
        return _default(self.key)

    @property
    def choices(self) -> Sequence[Choice]:
        """Options of a select, the default first; a text that is none of them is kept as one."""
        words = _choices(self.key)
        is_known = self.text in {choice.value for choice in words}
        return words if is_known else [*words, Choice(self.text, self.text)]

    @property
    def hint(self) -> str:
        """Form of the text, where it is not plain."""
        match self.key.form:
            case KeyForm.TEXTS:
                return 'One per line; spaces or line ends in it as in JSON: "\\n".'
            case KeyForm.MAPPING:
                return "YAML: one `name: value` per line."
            case KeyForm.DURATION:
                return "Seconds, or text such as `1h30m`."
        return f"In {self.key.rule.unit}." if self.key.rule.unit else ""


@dataclass
class BlockView:
    """A block of the form."""

    path: str
    """Path of the block; empty for the spec."""
    name: str
    """Key of the block, or the number of an entry."""
    doc: str
    """Description."""
    errors: Sequence[str]
    """Problems of the block as a whole."""
    is_removable: bool
    """True for a block that may be left out."""
    first: list[Any] = field(default_factory=list)
    """Fields and blocks that everybody sees."""
    further: list[Any] = field(default_factory=list)
    """Fields and blocks one step away."""
    absent: list[SchemaKey] = field(default_factory=list)
    """Blocks that can be added and are shown to everybody."""
    further_absent: list[SchemaKey] = field(default_factory=list)
    """Other blocks that can be added."""
    has_values: bool = False
    """True if a key in it is set, or has an error."""

    is_field = False
    is_list = False

    @property
    def id(self) -> str:
        """Id of the element."""
        return element_id(self.path)


@dataclass
class ListView:
    """A list of blocks of the form."""

    path: str
    """Path of the list."""
    key: SchemaKey
    """Key of the schema."""
    errors: Sequence[str]
    """Problems of the list as a whole."""
    blocks: list[BlockView]
    """Entries."""

    is_field = False
    is_list = True

    @property
    def id(self) -> str:
        """Id of the element."""
        return element_id(self.path)

    @property
    def has_values(self) -> bool:
        """True if there is an entry, or an error."""
        return bool(self.blocks or self.errors)


@dataclass(frozen=True)
class Problem:
    """An error in the summary above the form."""

    path: str
    """Path of the wrong key."""
    description: str
    """Predicate that describes the error."""
    target: str
    """Id of the element to go to; empty if no field has the error."""


class FormView:
    """The form of a draft with its errors at their fields."""

    def __init__(
        self,
        draft: Draft,
        violations: Iterable[Violation] = (),
        suggestions: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._suggestions = suggestions or {}
        self._paths = {"", RUN_ID}
        _collect_paths(RunSpec, "", draft, self._paths)
        self._errors: dict[str, list[str]] = defaultdict(list)
        self.problems: list[Problem] = []
        """Every error, in order."""
        for violation in violations:
            place = self._place(violation.field)
            self.problems.append(
                Problem(violation.field, violation.description, element_id(place) if place else "")
            )
            name = violation.field.removeprefix(place).lstrip(".") if place else violation.field
            text = f"{name} {violation.description}" if name else violation.description
            self._errors[place].append(text)
        self.root = self._block(RunSpec, "", draft, "run", "", False)
        """The spec as a block."""

    @property
    def run_id_errors(self) -> Sequence[str]:
        """Problems of the requested run id, which is not a key of the spec."""
        return self._errors.get(RUN_ID, ())

    def _place(self, path: str) -> str:
        """Return the longest path of an element that a violation's path begins with."""
        while path and path not in self._paths:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return path

    def _block(
        self,
        schema: type[Any],
        path: str,
        draft: Draft,
        name: str,
        doc: str,
        is_removable: bool,
    ) -> BlockView:
        view = BlockView(path, name, doc, self._errors.get(path, ()), is_removable)
        for key in schema_keys(schema):
            where = f"{path}.{key.name}" if path else key.name
            if key.is_optional_block and key.name not in draft:
                absent = view.absent if key.rule.shown_first else view.further_absent
                absent.append(key)
                continue
            part = self._part(key, where, draft)
            is_set = part.has_values if not part.is_field else bool(part.text or part.errors)
            view.has_values = view.has_values or is_set
            is_first = key.rule.shown_first or key.is_required or is_set
            (view.first if is_first else view.further).append(part)
        view.has_values = view.has_values or bool(view.errors) or is_removable
        return view

    def _part(self, key: SchemaKey, path: str, draft: Draft) -> Any:
        value = draft.get(key.name)
        if key.form is KeyForm.BLOCKS and key.schema is not None:
            schema = key.schema
            blocks = [
                self._block(schema, f"{path}[{index}]", entry, f"{key.name} {index + 1}", "", True)
                for index, entry in enumerate(value or [])
            ]
            return ListView(path, key, self._errors.get(path, ()), blocks)
        if key.schema is not None:
            doc = key.rule.doc
            return self._block(key.schema, path, value or {}, key.name, doc, key.is_optional_block)
        errors = self._errors.get(path, ())
        names = self._suggestions.get(_pattern(path), ())
        return FieldView(path, key, value or "", errors, names)


def element_id(path: str) -> str:
    """Return the id of a path's element: ``judges-0-name`` for ``judges[0].name``."""
    return "f-" + re.sub(r"[^a-z0-9_]+", "-", path.lower()).strip("-")


def _pattern(path: str) -> str:
    """Return a path with every index left out, as suggestions name it."""
    return re.sub(r"\[[0-9]+\]", "[]", path)


def _collect_paths(schema: type[Any], path: str, draft: Draft, paths: set[str]) -> None:
    for key in schema_keys(schema):
        where = f"{path}.{key.name}" if path else key.name
        if key.is_optional_block and key.name not in draft:
            continue
        paths.add(where)
        if key.form is KeyForm.BLOCKS and key.schema is not None:
            for index, entry in enumerate(draft.get(key.name) or []):
                paths.add(f"{where}[{index}]")
                _collect_paths(key.schema, f"{where}[{index}]", entry, paths)
        elif key.schema is not None:
            _collect_paths(key.schema, where, draft.get(key.name) or {}, paths)


def _default(key: SchemaKey) -> str:
    match key.default:
        case None:
            return ""
        case bool():
            return "true" if key.default else "false"
        case int() | float():
            return digits(key.default)
    return str(key.default)


def _choices(key: SchemaKey) -> list[Choice]:
    if key.choices is None:
        words = [Choice("true", "true"), Choice("false", "false")]
    else:
        docs = _member_docs(key.choices)
        words = [
            Choice(member.value, f"{member.value}: {docs[member.name]}") for member in key.choices
        ]
    if key.is_required:
        return [Choice("", "(choose)"), *words]
    default = _default(key)
    return [Choice("", f"default ({default})" if default else "default"), *words]


@functools.cache
def _member_docs(kind: type[enum.Enum]) -> dict[str, str]:
    return {
        name: " ".join(text.replace("``", "`").replace("`", "").split())
        for name, text in attribute_texts(kind).items()
    }
