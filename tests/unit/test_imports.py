"""Imports between modules: no circle, and every module in a contract of import-linter.

Contracts themselves are checked by ``lint-imports``; ``exhaustive`` makes a new module of a
contracted package fail there until it has a layer.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("services", "tailrace", "training", "workers")


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    return grimp.build_graph(*PACKAGES, exclude_type_checking_imports=True, cache_dir=None)


def circles(graph: grimp.ImportGraph) -> list[list[str]]:
    """Return the strongly connected groups of two or more modules (Tarjan, 1972)."""
    indices: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    groups: list[list[str]] = []

    def visit(module: str) -> None:
        indices[module] = lowest[module] = len(indices)
        stack.append(module)
        for imported in graph.find_modules_directly_imported_by(module):
            if imported not in indices:
                visit(imported)
                lowest[module] = min(lowest[module], lowest[imported])
            elif imported in stack:
                lowest[module] = min(lowest[module], indices[imported])
        if lowest[module] == indices[module]:
            start = stack.index(module)
            groups.append(sorted(stack[start:]))
            del stack[start:]

    for module in sorted(graph.modules):
        if module not in indices:
            visit(module)
    return [group for group in groups if len(group) > 1]


def test_no_modules_import_each_other_in_a_circle(graph: grimp.ImportGraph) -> None:
    assert circles(graph) == []


def test_a_circle_is_noticed() -> None:
    graph = grimp.ImportGraph()
    for module in ("a", "b", "c"):
        graph.add_module(module)
    graph.add_import(importer="a", imported="b")
    graph.add_import(importer="b", imported="c")
    assert circles(graph) == []
    graph.add_import(importer="c", imported="a")
    assert circles(graph) == [["a", "b", "c"]]


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_is_in_an_exhaustive_contract(package: str) -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    containers = {
        container
        for contract in settings["contracts"]
        if contract.get("exhaustive")
        for container in contract["containers"]
    }
    assert package in containers
