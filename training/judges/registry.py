"""Lookup of judges by name: the built-in ones, and those of other packages."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points

from tailrace.formats.spec.judge_spec import BUILT_IN
from training.errors import ConfigError
from training.judges.base import Judge, JudgeSetup

GROUP = "tailrace.judges"
"""Entry point group in which other packages name their judges."""

_SHARED_MODULES = {"token_f1": "overlap", "rouge_l": "overlap"}
"""Modules with several judges, by judge; every other built-in judge has a module named like it."""


def judge_names() -> list[str]:
    """Return the names that :func:`make_judge` accepts, built-in ones first."""
    return [*BUILT_IN, *sorted(_entry_points())]


def make_judge(setup: JudgeSetup) -> Judge:
    """Return the judge that a spec names.

    Raises:
        ConfigError: The name is unknown, the options do not suit the judge, or its package does not
            load.
    """
    name, points = setup.spec.name, _entry_points()
    if name not in BUILT_IN and name not in points:
        raise ConfigError(f"there is no judge {name!r}; known: {', '.join(judge_names())}")
    try:
        factory = _built_in(name) if name in BUILT_IN else points[name].load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"the judge {name} does not load: {error}") from error
    judge: Judge = factory(setup)
    return judge


def _built_in(name: str) -> Callable[[JudgeSetup], Judge]:
    """Return the class of a built-in judge: the one in its module that has its name."""
    module = import_module(f"training.judges.{_SHARED_MODULES.get(name, name)}")
    classes: list[Callable[[JudgeSetup], Judge]] = [
        member
        for member in vars(module).values()
        if isinstance(member, type) and getattr(member, "name", None) == name
    ]
    return classes[0]


def _entry_points() -> dict[str, EntryPoint]:
    """Return the judges of other packages; names of built-in ones are ignored."""
    points = {point.name: point for point in entry_points(group=GROUP)}
    return {name: point for name, point in points.items() if name not in BUILT_IN}
