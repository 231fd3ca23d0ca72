"""Amounts in use now by project, such as open streams and bytes of uploads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class Share:
    """Part of a project's amount, given back at the end of a block."""

    def __init__(self, amounts: Amounts, project: str) -> None:
        self._amounts = amounts
        self._project = project
        self.amount = 0
        """Amount taken so far."""

    def add(self, amount: int) -> None:
        """Take more."""
        self.amount += amount
        self._amounts.change(self._project, amount)


class Amounts:
    """Amount in use of one kind, by project."""

    def __init__(self) -> None:
        self._by_project: dict[str, int] = {}

    def of(self, project: str) -> int:
        """Return a project's amount."""
        return self._by_project.get(project, 0)

    @contextmanager
    def share(self, project: str) -> Iterator[Share]:
        """Yield a share of a project's amount, which ends with the block."""
        share = Share(self, project)
        try:
            yield share
        finally:
            self.change(project, -share.amount)

    def change(self, project: str, by: int) -> None:
        """Change a project's amount."""
        amount = self.of(project) + by
        if amount:
            self._by_project[project] = amount
        else:
            self._by_project.pop(project, None)
