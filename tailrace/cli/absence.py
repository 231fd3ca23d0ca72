"""Announcements that the control plane is away, and that it is back, each once."""

from __future__ import annotations

import dataclasses
import threading
from types import TracebackType
from typing import Self

from rich.console import Console

from tailrace.cli.options import ONE_TRY, RETRY
from tailrace.cli.show import output
from tailrace.client.blocking import Client
from tailrace.errors import DeadlineExceeded, TailraceError, Unavailable

_ASK_SECONDS = 1.0


class Absence:
    """Announcements about the control plane at ``server`` while something is followed.

    Streams report when they wait for it, but learn of its return only with their next message,
    which may take hours: a thread asks meanwhile. After the return, a stream whose connection has
    yet to recover fails a few more times: a later absence is announced only if the thread gets no
    answer either.
    """

    def __init__(self, server: str, console: Console) -> None:
        self.retry = dataclasses.replace(RETRY, on_absence=self._wait)
        """Policy for the client that follows."""
        self._server = server
        self._console = console
        self._lock = threading.Lock()
        self._away = False
        self._announced = False
        self._was_back = False
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
            # The streams ended before the thread asked again.
            self._say_back()

    def _wait(self, error: TailraceError) -> None:
        with self._lock:
            if self._away:
                return
            self._away = True
        if not self._was_back:
            self._say_away(error)
        threading.Thread(target=self._ask, args=(error,), daemon=True).start()

    def _ask(self, error: TailraceError) -> None:
        """Ask until the control plane answers; announce a later absence at the first failure."""
        with Client(self._server, retry=ONE_TRY, timeout=_ASK_SECONDS) as client:
            while not self._end.wait(_ASK_SECONDS):
                try:
                    next(client.list_runs(page_size=1, limit=1), None)
                except (Unavailable, DeadlineExceeded):
                    self._say_away(error)
                    continue
                except TailraceError:
                    # It answers, if only with a refusal.
                    pass
                self._say_back()
                return

    def _say_away(self, error: TailraceError) -> None:
        with self._lock:
            was_announced, self._announced = self._announced, True
        if was_announced:
            return
        limit = self.retry.reconnect_timeout
        self._say(f"{error}; waiting for {self._server}, for {limit:.0f} s at most")

    def _say_back(self) -> None:
        with self._lock:
            was_announced, self._announced = self._announced, False
            self._away = False
            self._was_back = True
        if was_announced:
            self._say(f"{self._server} is back")

    def _say(self, text: str) -> None:
        self._console.print(output.one_line(text), soft_wrap=True)
