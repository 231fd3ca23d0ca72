"""Quotas of calls that this control plane counts for itself: rates, and open streams."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import timedelta

from services.domain.caller import Caller
from services.domain.errors import QuotaExceeded, Unavailable
from services.domain.quota import Quota
from services.runtime.amounts import Amounts
from services.runtime.fair_gate import FairGate
from services.runtime.rates import Rate, Rates
from services.storage.rows.access import quotas as store
from services.usecases.context import Context
from services.usecases.quotas.streams import RETRY_SECONDS

LOOK = timedelta(seconds=4)
"""Interval at which the limits of projects are read: a change by another control plane holds here
within five seconds."""


class CallQuotas:
    """Calls of clients as this control plane counts them; those of workers are not limited."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._rates = Rates()
        self._streams = Amounts()
        self._gate = FairGate()

    def take(self, caller: Caller) -> None:
        """Count a call before its body is read.

        Raises:
            QuotaExceeded: The caller or its project calls too often (TOO_MANY_REQUESTS).
        """
        if caller.is_worker:
            return
        rates = []
        limits = self._context.limits
        for quota, owner in (
            (Quota.CALLER_REQUESTS_PER_SECOND, _identity(caller)),
            (Quota.REQUESTS_PER_SECOND, caller.project),
        ):
            limit = limits.limit(caller.project, quota)
            if limit is not None:
                rates.append(Rate(quota, owner, limit))
        refusal = self._rates.take(rates) if rates else None
        if refusal is not None:
            raise _too_many(caller, refusal[0], refusal[1])

    @asynccontextmanager
    async def turn(self, caller: Caller) -> AsyncIterator[None]:
        """Wait until a call may run: callers with many of them do not keep others waiting."""
        if caller.is_worker:
            yield
            return
        async with self._gate.turn(_identity(caller)):
            yield

    @contextmanager
    def stream(self, caller: Caller) -> Iterator[None]:
        """Count a server stream for the duration of the block.

        Raises:
            QuotaExceeded: The project has too many of them (TOO_MANY_STREAMS).
        """
        if caller.is_worker:
            yield
            return
        project = caller.project
        limit = self._context.limits.limit(project, Quota.OPEN_STREAMS)
        use = self._streams.of(project)
        if limit is not None and use >= limit:
            raise QuotaExceeded(
                "TOO_MANY_STREAMS",
                f"project {project} has {use} open streams, at most {limit} are allowed: end one, "
                "or try again later",
                quota=Quota.OPEN_STREAMS,
                project=project,
                limit=limit,
                use=use,
                retry_delay=RETRY_SECONDS,
            )
        with self._streams.share(project) as share:
            share.add(1)
            yield

    async def load(self) -> None:
        """Read the limits of projects. Raises ``Unavailable``."""
        async with self._context.database.read() as conn:
            self._context.limits.replace(await store.read(conn))

    async def run(self) -> None:
        """Read the limits of projects again and again until the shutdown."""
        while not await self._context.shutdown.sleep(LOOK.total_seconds()):
            try:
                await self.load()
            except Unavailable:
                # The health monitor reports the outage; the limits that were read last hold.
                continue


def _identity(caller: Caller) -> tuple[str, str]:
    return caller.project, caller.subject


def _too_many(caller: Caller, rate: Rate, wait: float) -> QuotaExceeded:
    owner = f"project {caller.project}"
    if rate.quota is Quota.CALLER_REQUESTS_PER_SECOND:
        owner = f"this caller of {owner}"
    advice = f"try again in {wait:.1f} s" if math.isfinite(wait) else "no call is allowed"
    return QuotaExceeded(
        "TOO_MANY_REQUESTS",
        f"{owner} calls more than {rate.per_second} times per second: {advice}",
        quota=rate.quota,
        project=caller.project,
        limit=rate.per_second,
        use=rate.per_second,
        retry_delay=wait if math.isfinite(wait) else None,
    )
