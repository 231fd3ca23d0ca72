"""API tokens of callers: looked up by id, cached for seconds, watched while streams are open."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import structlog

from services.domain.access.token import Token, id_of, invalid_token
from services.domain.caller import Identity
from services.domain.errors import DomainError, Unavailable
from services.storage.engine.columns import utc_now
from services.storage.rows.access import tokens as store
from services.usecases.context import Context

_log = structlog.get_logger(__name__)

LOOK_SECONDS = 4.0
"""Longest time for which a token read from the database counts, and the interval at which those of
open streams are read again. A revocation must reach every replica within 10 seconds."""

USE_SECONDS = 60.0
"""Shortest time between two recorded uses of a token."""

_MAX_CACHED = 10_000


class OpenCall:
    """A call that ends when its caller's credential is revoked, or at its largest age."""

    def __init__(self, task: asyncio.Task[object] | None) -> None:
        self._task = task
        self.refusal: DomainError | None = None
        """Error to report once the call must end."""
        self.is_sending = False
        """True while gRPC sends a message of the call."""

    def refuse(self, refusal: DomainError) -> None:
        """Interrupt the call; its handler then reports the error."""
        self.refusal = refusal
        # gRPC is not interrupted while it sends a message: the stream would end without a status.
        if self._task is not None and not self.is_sending:
            self._task.cancel()


@contextmanager
def sending(calls: Sequence[OpenCall]) -> Iterator[None]:
    """Put off the interruption of a call until its message is sent.

    Raises:
        DomainError: The call was refused meanwhile.
    """
    for call in calls:
        call.is_sending = True
    yield
    for call in calls:
        call.is_sending = False
        if call.refusal is not None:
            raise call.refusal


class Tokens:
    """Tokens as this replica sees them."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._cache: dict[str, tuple[float, Token]] = {}
        self._used: set[str] = set()
        self._next_record = 0.0
        self._open: dict[str, set[OpenCall]] = {}

    async def identity(self, text: str) -> Identity:
        """Return the identity of a token's holder.

        Raises:
            Unauthenticated: There is no such token, or it is no longer in force (TOKEN_INVALID).
            Unavailable: The database does not answer.
        """
        token_id = id_of(text)
        token = None if token_id is None else await self._get(token_id)
        if token is None or not token.is_text(text) or not token.is_in_force(utc_now()):
            raise invalid_token()
        self._used.add(token.token_id)
        return token.identity()

    @contextmanager
    def watch(self, identity: Identity, *, stream: bool) -> Iterator[OpenCall]:
        """Watch the credential of a call's caller for the duration of the block.

        A call ends when the token is revoked, and a stream of responses when the OpenID provider's
        token expires; an upload that has begun may go on.
        """
        call = OpenCall(asyncio.current_task())
        timer = None
        if stream and identity.expire_time is not None:
            seconds = (identity.expire_time - utc_now()).total_seconds()
            timer = asyncio.get_running_loop().call_later(seconds, call.refuse, _expired())
        calls = self._open.setdefault(identity.token_id, set()) if identity.token_id else set()
        calls.add(call)
        try:
            yield call
        finally:
            calls.discard(call)
            if not calls:
                self._open.pop(identity.token_id, None)
            if timer is not None:
                timer.cancel()

    async def run(self) -> None:
        """Follow the tokens of open streams and record uses until the shutdown."""
        while not await self._context.shutdown.sleep(LOOK_SECONDS):
            try:
                await self._end_refused()
                await self._record_uses()
            except Unavailable:
                # The health monitor reports the outage; streams end once the database is back.
                continue

    async def _get(self, token_id: str) -> Token | None:
        cached = self._cache.get(token_id)
        if cached is not None and time.monotonic() - cached[0] < LOOK_SECONDS:
            return cached[1]
        tokens = await self._read({token_id})
        return tokens.get(token_id)

    async def _read(self, token_ids: set[str]) -> dict[str, Token]:
        now = time.monotonic()
        async with self._context.database.read() as conn:
            tokens = await store.find(conn, token_ids)
        if len(self._cache) + len(tokens) > _MAX_CACHED:
            self._cache.clear()
        for token_id in token_ids - set(tokens):
            self._cache.pop(token_id, None)
        self._cache.update({token_id: (now, token) for token_id, token in tokens.items()})
        return tokens

    async def _end_refused(self) -> None:
        watched = set(self._open)
        if not watched:
            return
        tokens = await self._read(watched)
        now = utc_now()
        for token_id in watched:
            token = tokens.get(token_id)
            if token is not None and token.is_in_force(now):
                continue
            calls = list(self._open.get(token_id, ()))
            _log.warning("streams end with their token", token=token_id, streams=len(calls))
            for call in calls:
                call.refuse(invalid_token())

    async def _record_uses(self) -> None:
        if not self._used or time.monotonic() < self._next_record:
            return
        self._next_record = time.monotonic() + USE_SECONDS
        used, self._used = self._used, set()
        async with self._context.database.write() as conn:
            await store.record_use(conn, used, utc_now(), timedelta(seconds=USE_SECONDS))


def _expired() -> Unavailable:
    """Return the error of a stream whose token has expired: clients open it again at its cursor."""
    return Unavailable(
        "LOGIN_EXPIRED", "the access token of this stream has expired: open it again with a new one"
    )
