"""Comparison of two versions of a module by their bytecode, up to the names of local variables."""

from __future__ import annotations

import ast
import dis
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from types import CodeType

from tests.prose.compare_trees import without_docstrings

_BY_NAME = frozenset({"locals", "eval", "exec"})
"""Functions that see local variables by name."""
_LEAVES = frozenset(
    {"RETURN_VALUE", "RETURN_CONST", "RAISE_VARARGS", "RERAISE", "JUMP_FORWARD", "JUMP_BACKWARD"}
    | {"JUMP_BACKWARD_NO_INTERRUPT"}
)
"""Instructions that the next one does not follow."""
_FAST_ACCESS = re.compile(r"(?:LOAD|STORE|DELETE)_FAST(?:_AND_CLEAR)?")
_UNSET = -1
"""Origin of the value of a variable before its first store."""

Origins = dict[str, frozenset[int]]
"""Steps that may have stored a variable's value, by name."""


class DifferenceError(Exception):
    """Two versions do not do the same."""

    place = ""
    """Name of the innermost code that differs."""

    def __str__(self) -> str:
        """Return the difference behind its place."""
        return f"{self.place}: {super().__str__()}"


def compare_names(old: str, new: str) -> str | None:
    """Return the first difference of two modules that is not a docstring or a local name.

    One local name may become two, or two one, if every load still reads the same stores.
    """
    try:
        _compare(_compiled(old), _compiled(new))
    except DifferenceError as error:
        return str(error)
    return None


def _compiled(source: str) -> CodeType:
    """Compile a module without docstrings and as if it were written on one line."""
    tree = without_docstrings(source)
    for node in ast.walk(tree):
        if hasattr(node, "lineno"):
            vars(node).update(lineno=1, end_lineno=1, col_offset=0, end_col_offset=0)
    return compile(tree, "<module>", "exec", dont_inherit=True)


@dataclass(frozen=True)
class _Step:
    """One instruction, without the names of local variables."""

    operation: str
    argument: object = None
    target: int | None = None
    """Index of the step that it jumps to."""


@dataclass(frozen=True)
class _Names:
    """Variable and code that a step uses."""

    fast: str | None = None
    cell: str | None = None
    """Variable that functions share."""
    code: CodeType | None = None


@dataclass(frozen=True)
class _Body:
    """Steps of a code object."""

    code: CodeType
    steps: list[_Step]
    names: list[_Names]
    handlers: list[tuple[int, int, int]]
    """First and last guarded step, and the step that handles what they raise."""


class _Pairing:
    """One-to-one renaming of variables that functions share; parameters keep their names."""

    def __init__(self, parameters: Iterable[str]) -> None:
        self.renamed = {name: name for name in parameters}
        self._origin = dict(self.renamed)

    def add(self, old: str, new: str) -> None:
        """Record that ``old`` became ``new``.

        Raises:
            DifferenceError: An earlier pair says otherwise.
        """
        if self.renamed.setdefault(old, new) != new or self._origin.setdefault(new, old) != old:
            raise DifferenceError(f"the shared variable {old!r} became {new!r}, but not everywhere")


def _compare(old: CodeType, new: CodeType) -> dict[str, str]:
    """Compare two code objects; return how their free variables were renamed.

    Raises:
        DifferenceError: They do not do the same.
    """
    try:
        return _renamed(_body(old), _body(new))
    except DifferenceError as error:
        error.place = error.place or old.co_qualname
        raise


def _renamed(before: _Body, after: _Body) -> dict[str, str]:
    """Do the work of :func:`_compare`."""
    for label, value in _fixed(before.code).items():
        if value != _fixed(after.code)[label]:
            raise DifferenceError(f"{label} became {_fixed(after.code)[label]}")
    for left, right in zip_longest(before.steps, after.steps):
        if left != right:
            raise DifferenceError(f"{_shown(left)} became {_shown(right)}")
    pairing = _Pairing(_parameters(before.code))
    for uses, uses_now in zip(before.names, after.names, strict=True):
        _pair(uses, uses_now, pairing)
    for name, renamed in pairing.renamed.items():
        if _scope(before.code, name) != _scope(after.code, renamed):
            raise DifferenceError(f"{renamed!r}, earlier {name!r}, has another scope")
    _compare_fast_variables(before, after)
    free = before.code.co_freevars
    return {name: pairing.renamed[name] for name in free if name in pairing.renamed}


def _pair(uses: _Names, uses_now: _Names, pairing: _Pairing) -> None:
    """Pair the shared variables of one step, and those of the code that it loads."""
    if uses.cell is not None and uses_now.cell is not None:
        pairing.add(uses.cell, uses_now.cell)
    if uses.code is not None and uses_now.code is not None:
        for name, renamed in _compare(uses.code, uses_now.code).items():
            pairing.add(name, renamed)


def _compare_fast_variables(before: _Body, after: _Body) -> None:
    """Check that every load of an unshared variable reads what it read.

    Raises:
        DifferenceError: One reads another value, or the code sees variables by name.
    """
    loads, loads_now = _loads(before), _loads(after)
    for index, origins in loads.items():
        if origins != loads_now[index]:
            name, renamed = before.names[index].fast, after.names[index].fast
            raise DifferenceError(f"{renamed!r}, earlier {name!r}, is not always the same value")
    by_name = any(
        step.operation.startswith("LOAD_GLOBAL") and step.argument in _BY_NAME
        for step in before.steps
    )
    if by_name and before.code.co_varnames != after.code.co_varnames:
        raise DifferenceError("variables cannot be renamed next to locals(), eval() or exec()")


def _fixed(code: CodeType) -> dict[str, object]:
    """Return what no renaming of local variables changes."""
    return {
        "the name": code.co_qualname,
        "the parameters": _parameters(code),
        "the kinds of parameters": (code.co_argcount, code.co_posonlyargcount),
        "the flags": code.co_flags,
        "the names of globals and attributes": code.co_names,
        "the number of shared variables": (len(code.co_cellvars), len(code.co_freevars)),
    }


def _parameters(code: CodeType) -> tuple[str, ...]:
    count = code.co_argcount + code.co_kwonlyargcount
    count += bool(code.co_flags & 0x04) + bool(code.co_flags & 0x08)
    return code.co_varnames[:count]


def _scope(code: CodeType, name: str) -> tuple[bool, bool]:
    return name in code.co_cellvars, name in code.co_freevars


def _shown(step: _Step | None) -> str:
    if step is None:
        return "nothing"
    return step.operation if step.argument is None else f"{step.operation} {step.argument}"


def _body(code: CodeType) -> _Body:
    """Read a code object's steps; those of super-instructions one by one."""
    steps: list[_Step] = []
    names: list[_Names] = []
    places: dict[int, int] = {}
    pending: list[int] = []
    instructions = list(dis.get_instructions(code))
    jumps = {*dis.hasjrel, *dis.hasjabs}
    for instruction in instructions:
        places[instruction.offset] = len(steps)
        if instruction.opname == "EXTENDED_ARG":
            continue
        if instruction.opcode in jumps:
            pending.append(len(steps))
            steps.append(_Step(instruction.opname, target=instruction.argval))
            names.append(_Names())
            continue
        for step, uses in _read(instruction, code):
            steps.append(step)
            names.append(uses)
    for index in pending:
        step = steps[index]
        steps[index] = _Step(step.operation, target=places[step.target or 0])
    handlers = []
    for entry in vars(dis.Bytecode(code))["exception_entries"]:
        guarded = [place for offset, place in places.items() if entry.start <= offset < entry.end]
        handlers.append((min(guarded), max(guarded), places[entry.target]))
    return _Body(code, steps, names, handlers)


def _read(instruction: dis.Instruction, code: CodeType) -> Iterator[tuple[_Step, _Names]]:
    """Split an instruction into what must be equal and the variables that it uses."""
    name, value = instruction.opname, instruction.argval
    accesses = _FAST_ACCESS.findall(name)
    if accesses:
        variables = value if isinstance(value, tuple) else (value,)
        for access, variable in zip(accesses, variables, strict=True):
            shared = variable in code.co_cellvars or variable in code.co_freevars
            yield _Step(access), _Names() if shared else _Names(fast=variable)
    elif name in ("LOAD_CLOSURE", "MAKE_CELL"):
        # Their order is that of the names; the loads of the inner function pair them.
        yield _Step(name), _Names()
    elif instruction.opcode in dis.hasfree:
        yield _Step(name), _Names(cell=value)
    elif isinstance(value, CodeType):
        yield _Step(name), _Names(code=value)
    elif instruction.opcode in dis.hasconst:
        yield _Step(name, _constant(value)), _Names()
    elif instruction.opcode in dis.hasname:
        flags = (instruction.arg or 0) & 1 if name in ("LOAD_GLOBAL", "LOAD_ATTR") else 0
        yield _Step(name if not flags else f"{name}+1", value), _Names()
    else:
        yield _Step(name, instruction.arg), _Names()


def _constant(value: object) -> str:
    """Return a text that differs for constants of different type or value."""
    if isinstance(value, frozenset):
        return f"frozenset({sorted(map(_constant, value))})"
    if isinstance(value, tuple):
        return f"({', '.join(map(_constant, value))})"
    return repr(value)


def _loads(body: _Body) -> dict[int, frozenset[int]]:
    """Return the steps whose stores each load of an unshared variable can read."""
    reached: dict[int, Origins] = {}
    start: Origins = {
        name: frozenset({_UNSET - 1 - place}) for place, name in enumerate(_parameters(body.code))
    }
    waiting = [(0, start)]
    while waiting:
        index, arriving = waiting.pop()
        known = reached.get(index)
        merged = arriving if known is None else _merged(known, arriving)
        if known is not None and merged == known:
            continue
        reached[index] = merged
        waiting += [
            (handler, merged) for first, last, handler in body.handlers if first <= index <= last
        ]
        step = body.steps[index]
        leaving = _after(step, body.names[index], index, merged)
        if step.target is not None:
            waiting.append((step.target, leaving))
        if step.operation not in _LEAVES:
            waiting.append((index + 1, leaving))
    unset = frozenset({_UNSET})
    return {
        index: reached[index].get(uses.fast, unset) if index in reached else frozenset()
        for index, uses in enumerate(body.names)
        if uses.fast is not None and not body.steps[index].operation.startswith("STORE")
    }


def _merged(one: Origins, other: Origins) -> Origins:
    unset = frozenset({_UNSET})
    return {name: one.get(name, unset) | other.get(name, unset) for name in {*one, *other}}


def _after(step: _Step, uses: _Names, index: int, origins: Origins) -> Origins:
    """Return the origins after a step."""
    if uses.fast is None or step.operation == "LOAD_FAST":
        return origins
    stores = step.operation.startswith("STORE")
    return {**origins, uses.fast: frozenset({index if stores else _UNSET})}
