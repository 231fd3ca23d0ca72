"""Detection of the form that the rows of a file have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from tailrace.datasets.forms import FORMS, Form
from tailrace.formats.data.record import DatasetKind
from tailrace.formats.wording import describe, nearest

DROP = "drop"
"""Name in a mapping for columns, separated by commas, that records leave out."""


class DetectionError(ValueError):
    """Error of rows of no known form, or of several; the message names the way out."""


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
    dropped, mapped = _read_mapping(rows, dict(mapping or {}))
    hidden = {path[0] for path in (*mapped.values(), *dropped) if len(path) == 1}
    columns = [name for name in names if name not in hidden]
    forms = [
        form for form in FORMS if kind in (None, form.kind) and mapped.keys() <= form.fields.keys()
    ]
    fitting = _specific([form for form in forms if _fits(form, columns, mapped)], kind)
    if not fitting:
        raise DetectionError(_no_form(names, kind, mapped))
    if len(fitting) > 1:
        raise DetectionError(_many_forms(fitting, columns, mapped))
    form = fitting[0]
    paths = _paths(form, columns, mapped)
    return Plan(form.kind, form, paths, _reason(form, paths, names), frozenset(dropped), is_arrow)


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
            known = ", ".join([*fields, DROP])
            raise MappingError(f"{describe(field)} is not a field; {hint}there is: {known}")
    return dropped, {field: find_column(column, rows) for field, column in mapping.items()}


def _fits(form: Form, columns: Sequence[str], mapped: Mapping[str, Path]) -> bool:
    return all(
        field in mapped or any(name in columns for name in names)
        for field, names in form.required.items()
    )


def _specific(forms: list[Form], kind: DatasetKind | None) -> list[Form]:
    """Return the forms without those that have fewer fields than another, or are weak."""
    strong = [form for form in forms if not form.is_weak] or forms
    return [
        form
        for form in strong
        if not any(form.required.keys() < other.required.keys() for other in strong)
    ]


def _paths(form: Form, columns: Sequence[str], mapped: Mapping[str, Path]) -> dict[str, Path]:
    paths: dict[str, Path] = {}
    for field, names in form.fields.items():
        present = [name for name in names if name in columns]
        if field in mapped:
            paths[field] = mapped[field]
        elif len(present) > 1:
            raise DetectionError(
                f"{field} may be the column {' or '.join(present)}: choose with "
                f"--map {field}=COLUMN"
            )
        elif present or (names[0],) not in mapped.values():
            paths[field] = (present[0] if present else names[0],)
    return paths


def _reason(form: Form, paths: Mapping[str, Path], names: Sequence[str]) -> str:
    used = [path for path in paths.values() if path[0] in names]
    read = ", ".join(path_name(path) for path in used)
    rest = [name for name in names if name not in {path[0] for path in used}]
    kept = f"; kept as metadata: {show_columns(rest)}" if rest else ""
    return f"{form.kind}: {form.title} (columns {read}){kept}"


def _columns_of(form: Form, columns: Sequence[str], mapped: Mapping[str, Path]) -> str:
    return ", ".join(
        path_name(mapped[field]) if field in mapped else next(n for n in names if n in columns)
        for field, names in form.required.items()
    )


def _many_forms(forms: Sequence[Form], columns: Sequence[str], mapped: Mapping[str, Path]) -> str:
    candidates = " or ".join(
        f"{form.kind} ({form.title}: {_columns_of(form, columns, mapped)})" for form in forms
    )
    if len({form.kind for form in forms}) > 1:
        way = "choose with --format KIND"
    else:
        way = "choose the columns with --map FIELD=COLUMN, or leave some out with --map drop=COLUMN"
    return f"the rows may be {candidates}: {way}"


def _no_form(names: Sequence[str], kind: DatasetKind | None, mapped: Mapping[str, Path]) -> str:
    forms = [form for form in FORMS if kind in (None, form.kind)]
    known = "; ".join(f"{form.kind}: {', '.join(form.required)}" for form in forms)
    of = f"of the kind {kind}" if kind else "of a known form"
    return (
        f"the columns {show_columns(names)} are not {of}: name the column of each field with "
        f"--map FIELD=COLUMN ({known})"
    )
