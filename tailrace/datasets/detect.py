"""Detection of the form that the rows of a file have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

from tailrace.datasets.columns import (
    MappingError,
    Path,
    column_names,
    find_column,
    path_name,
    show_columns,
)
from tailrace.datasets.convert import Plan
from tailrace.datasets.convert_answers import truth
from tailrace.datasets.forms import FORMS, Form
from tailrace.formats.data.record import DatasetKind
from tailrace.formats.wording import describe, nearest

DROP = "drop"
"""Name in a mapping for columns, separated by commas, that records leave out."""

_LABELS = ("label", "kto_tag")
_QUESTIONS = ("prompt", "question", "query", "problem", "instruction")
_ANSWERS = ("answer", "response", "output", "solution", "ground_truth", "target", "reply")
"""Columns that often have prompts and answers, but are read only if the user says so."""


class DetectionError(ValueError):
    """Error of rows of no known form, or of several; the message names the way out."""

    def __init__(self, problem: str, details: Sequence[str] = ()) -> None:
        """Keep the problem, and the lines that explain it."""
        super().__init__("\n".join([problem, *(f"  {detail}" for detail in details)]))
        self.problem, self.details = problem, details


def detect(
    rows: Sequence[Mapping[str, Any]],
    kind: DatasetKind | None = None,
    mapping: Mapping[str, str] | None = None,
    *,
    is_arrow: bool = False,
) -> Plan:
    """Return the way to convert the rows of a file.

    Args:
        rows: The first rows; a few hundred are enough.
        kind: Kind of the records (default: detected).
        mapping: Columns by field: ``{"prompt": "question"}``; ``drop`` has the columns, separated
            by commas, that records leave out. Dots lead into nested mappings.
        is_arrow: True for rows of Arrow or Parquet, whose structures have nulls for absent keys.

    Raises:
        DetectionError: The rows are of no known form, or of several.
        MappingError: The mapping has an unknown field or a missing column.
    """
    names = column_names(rows)
    if not names:
        raise DetectionError("there are no rows with a value: the file holds nothing to import")
    dropped, mapped = _read_mapping(rows, dict(mapping or {}))
    hidden = {*mapped.values(), *dropped}
    columns = [name for name in names if (name,) not in hidden]
    labels = {name for name in _LABELS if any(truth(row.get(name)) is not None for row in rows)}
    table = _Table(columns, mapped, hidden, kind, labels & set(columns))
    form = _choose(table, names)
    paths = _paths(form, table)
    return Plan(form.kind, form, paths, _reason(form, paths, names), frozenset(dropped), is_arrow)


@dataclass(frozen=True)
class _Table:
    """The columns of rows, and what the user said about them."""

    columns: Sequence[str]
    mapped: Mapping[str, Path]
    hidden: Set[Path]
    """Columns that the user mapped to a field or left out."""
    kind: DatasetKind | None
    labels: Set[str]
    """Columns of labels that have a truth value in some row."""

    def column(self, form: Form, field: str) -> Path | None:
        """Return the column that a field of a form is read from; None if there is none."""
        if field in self.mapped:
            return self.mapped[field]
        for name in form.fields[field]:
            if name in self.columns and (self.kind or name not in form.doubtful):
                return (name,)
        return None


def _choose(table: _Table, names: Sequence[str]) -> Form:
    """Return the form of the rows."""
    forms = _specific([form for form in FORMS if _fits(form, table)])
    if not forms:
        raise DetectionError(_no_form(names, table), _fields_by_kind(table))
    if len(forms) > 1:
        raise DetectionError(_many_forms([_describe(form, table) for form in forms], forms))
    form = forms[0]
    if table.kind is None:
        _check_label(form, table)
        _check_answer(form, table)
    return form


def _fits(form: Form, table: _Table) -> bool:
    if table.kind not in (None, form.kind) or not table.mapped.keys() <= form.fields.keys():
        return False
    columns = {field: table.column(form, field) for field in form.required}
    if None in columns.values() or any(name in table.columns for name in form.excluded):
        return False
    if table.kind:
        return True
    if form.is_closed and "answer" not in table.mapped:
        own_columns = {name for names in form.fields.values() for name in names}
        return not table.mapped and own_columns.issuperset(table.columns)
    label = columns.get("label")
    return label is None or "label" in table.mapped or label[0] in table.labels


def _check_label(form: Form, table: _Table) -> None:
    """Refuse rows of another kind that have a label of good and bad answers."""
    has_answer = {"messages", "chosen", "output"} & form.required.keys()
    if has_answer and table.labels and form.kind is not DatasetKind.FEEDBACK:
        label = min(table.labels)
        candidates = [_describe(form, table), f"{DatasetKind.FEEDBACK} (an answer with a {label})"]
        raise DetectionError(_many_forms(candidates))


def _check_answer(form: Form, table: _Table) -> None:
    """Refuse prompts alone that have a column which looks like an answer to learn."""
    answers = [name for name in _ANSWERS if name in table.columns]
    if form.kind is DatasetKind.PROMPTS and form.is_weak and answers:
        raise DetectionError(
            f"the rows may be {DatasetKind.COMPLETION} (--map completion={answers[0]}) or "
            f"{DatasetKind.PROMPTS} (--map expected_answer={answers[0]}, or --format "
            f"{DatasetKind.PROMPTS} to keep {answers[0]} as metadata)"
        )


def _read_mapping(
    rows: Sequence[Mapping[str, Any]], mapping: dict[str, str]
) -> tuple[list[Path], dict[str, Path]]:
    """Return the columns to leave out, and the column of each mapped field."""
    left_out = [name.strip() for name in mapping.pop(DROP, "").split(",") if name.strip()]
    dropped = [find_column(name, rows) for name in left_out]
    fields = list(dict.fromkeys(name for form in FORMS for name in form.fields))
    for field in mapping:
        if field not in fields:
            near = nearest(field, fields)
            hint = f"did you mean {near!r}? " if near else ""
            names = ", ".join([*fields, DROP])
            raise MappingError(f"{describe(field)} is not a field; {hint}there is: {names}")
    return dropped, {field: find_column(column, rows) for field, column in mapping.items()}


def _specific(forms: list[Form]) -> list[Form]:
    """Return the forms without those that have fewer fields than another, or are weak."""
    strong = [form for form in forms if not form.is_weak] or forms
    return [
        form
        for form in strong
        if not any(form.required.keys() < other.required.keys() for other in strong)
    ]


def _paths(form: Form, table: _Table) -> dict[str, Path]:
    """Return the column of each field; of an optional one also if the first rows lack it."""
    paths: dict[str, Path] = {}
    for field, names in form.fields.items():
        present = [name for name in names if name in table.columns and name not in form.doubtful]
        if field not in table.mapped and len(present) > 1:
            raise DetectionError(
                f"{field} may be the column {' or '.join(present)}: choose with "
                f"--map {field}=COLUMN"
            )
        path = table.column(form, field)
        if path is not None:
            paths[field] = path
        elif (names[0],) not in table.hidden:
            paths[field] = (names[0],)
    return paths


def _reason(form: Form, paths: Mapping[str, Path], names: Sequence[str]) -> str:
    used = [path for path in paths.values() if path[0] in names]
    read = ", ".join(path_name(path) for path in used)
    rest = [name for name in names if name not in {path[0] for path in used}]
    metadata = f"; kept as metadata: {show_columns(rest)}" if rest else ""
    return f"{form.kind}: {form.title} (columns {read}){metadata}"


def _describe(form: Form, table: _Table) -> str:
    paths = [table.column(form, field) for field in form.required]
    columns = ", ".join(path_name(path) for path in paths if path is not None)
    return f"{form.kind} ({form.title}: {columns})"


def _many_forms(candidates: Sequence[str], forms: Sequence[Form] = ()) -> str:
    kinds = {form.kind for form in forms}
    if len(kinds) == 1:
        way = "choose the columns with --map FIELD=COLUMN, or leave some out with --map drop=COLUMN"
    else:
        way = "choose with --format KIND"
    return f"the rows may be {' or '.join(candidates)}: {way}"


def _no_form(names: Sequence[str], table: _Table) -> str:
    prompt, answer = _first_of(_QUESTIONS, names), _first_of(_ANSWERS, names)
    subject = f"of the kind {table.kind}" if table.kind else "of a known form"
    given = f" with --map {', '.join(table.mapped)}" if table.mapped else ""
    return (
        f"the rows are not {subject}{given}; their columns: {show_columns(names)}. Name the column "
        f"of each field, for example --map prompt={prompt} --map completion={answer}. Fields by "
        "kind:"
    )


def _fields_by_kind(table: _Table) -> list[str]:
    """Return a line for each kind: the fields that its forms require."""
    fields: dict[DatasetKind, dict[str, None]] = {}
    for form in FORMS:
        if table.kind in (None, form.kind):
            fields.setdefault(form.kind, {})[" + ".join(form.required)] = None
    return [f"{kind}: {' or '.join(options)}" for kind, options in fields.items()]


def _first_of(known: Sequence[str], names: Sequence[str]) -> str:
    """Return the column with the first known name, whatever its case; else a placeholder."""
    columns = {name.lower(): name for name in reversed(names)}
    return next((columns[name] for name in known if name in columns), "COLUMN")
