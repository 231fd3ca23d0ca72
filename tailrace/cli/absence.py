"""Tells a follower once that the control plane is away, and once that it is back."""

from __future__ import annotations

import dataclasses
import threading
from types import TracebackType
from typing import Self

from rich.console import Console

from tailrace.cli import output
from tailrace.cli.options import ONE_TRY, RETRY
from tailrace.client.blocking import Client
from tailrace.errors import DeadlineExceeded, TailraceError, Unavailable

_ASK_SECONDS = 1.0


class Absence:
    """Announcements about the control plane at ``server`` while something is followed.

    Streams say when they wait for it. That it is back a stream learns only with its next message,
    which may take hours: so a thread asks.
    """

    def __init__(self, server: str, console: Console) -> None:
        self.retry = dataclasses.replace(RETRY, on_absence=self._wait)
        """Policy for the client that follows."""
        self._server = server
        self._console = console
        self._lock = threading.Lock()
        self._away = False
        self._end = threading.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end.set()
        if exc_type is None:
            # Everything was followed to its end before the thread asked again.
            self._say_back()

    def _wait(self, error: TailraceError) -> None:
        with self._lock:
            if self._away:
                return
            self._away = True
        self._say(
            f"{error}; waiting for {self._server}, for {self.retry.reconnect_timeout:.0f} s at most"
        )
        threading.Thread(target=self._ask, daemon=True).start()

    def _ask(self) -> None:
        with Client(self._server, retry=ONE_TRY, timeout=_ASK_SECONDS) as client:
            while not self._end.wait(_ASK_SECONDS):
                try:
                    next(client.list_runs(page_size=1, limit=1), None)
                except (Unavailable, DeadlineExceeded):
                    continue
                except TailraceError:
                    # It answers, if only with a refusal.
                    pass
                self._say_back()
                return

    def _say_back(self) -> None:
        with self._lock:
            was_away, self._away = self._away, False
        if was_away:
            self._say(f"{self._server} is back")

    def _say(self, text: str) -> None:
        self._console.print(output.one_line(text), soft_wrap=True)
