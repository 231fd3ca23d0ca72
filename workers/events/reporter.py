"""Reporter of an attempt's events, which sends them until the control plane acknowledges them all.

Events wait in the spool; one thread streams them over PublishEvents. After a broken connection the
next stream begins after the last acknowledged sequence number, and the control plane ignores events
that it already has. An absent control plane costs only space in the spool.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import grpc
import structlog

from tailrace.errors import ResourceExhausted, TailraceError
from tailrace.formats import faults
from tailrace.formats.faults import Moment
from tailrace.formats.limits import BATCH_BYTES
from tailrace.v1 import stage_pb2
from workers.backoff import Backoff
from workers.events.spool import Spool
from workers.pool.directives import Directive, Directives
from workers.stage_client import (
    FAULT_CODES,
    STORED_BYTES,
    EventCall,
    LeaseLostError,
    StageClient,
    is_transient,
    typed_error,
)

_log = structlog.get_logger(__name__)

_GATHER_SECONDS = 0.05
"""Time for which events gather in a batch: the latency that batching costs."""

_POLL_SECONDS = 0.2
"""Interval at which an idle sender checks for the end of its stream."""

_WINDOW = 8
"""Maximum number of unacknowledged batches in flight."""

_STALL_SECONDS = 30.0
"""Time without an answer to a batch after which a stream counts as broken."""

_CLOSE_SECONDS = 5.0
"""Time that a cancelled stream has to end."""

_END_SECONDS = 1.0
"""Longest wait for the control plane to end a stream after its last request."""

_MAX_FAULTS = 15
"""Number of faults in a row without an acknowledged event, about a minute's worth, after which the
problem does not count as passing any more."""


@dataclass
class _Batch:
    """A batch in flight."""

    last: int
    """Sequence number of its last event."""
    rewind: int
    """Number of rewinds of the stream before the batch was sent."""
    sent_at: float = field(default_factory=time.monotonic)
    """Monotonic time at which the batch was sent."""


class Reporter:
    """Sending thread of one attempt."""

    def __init__(
        self, stage_client: StageClient, lease_token: str, spool: Spool, directives: Directives
    ) -> None:
        self._stage_client = stage_client
        self._lease_token = lease_token
        self._spool = spool
        self._directives = directives
        self._stop = threading.Event()
        self._faults = 0
        self._acknowledged_before = 0
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)
        self._thread.start()

    def flush(self, give_up: Callable[[], bool]) -> bool:
        """Wait until all events so far are acknowledged, even if the control plane is absent.

        Returns:
            False if ``give_up()`` came first, the attempt was aborted or its lease is lost.
        """
        last = self._spool.last_sequence

        def over() -> bool:
            hopeless = self._directives.strongest >= Directive.ABORT or give_up()
            return self._spool.acknowledged >= last or hopeless

        while not self._spool.wait(over, _POLL_SECONDS):
            pass
        return self._spool.acknowledged >= last

    def close(self) -> None:
        """Stop sending; unacknowledged events are dropped with the spool."""
        self._stop.set()
        self._spool.wake()
        self._thread.join(_CLOSE_SECONDS)
        if self._thread.is_alive():
            # Observed once: gRPC lost the end of a cancelled stream whose server was gone.
            _log.warning("the event stream was cancelled but does not end; it is abandoned")

    def _run(self) -> None:
        try:
            self._send_all()
        except BaseException as error:
            self._directives.abort(f"events can no longer be sent: {error}")
            raise

    def _send_all(self) -> None:
        backoff = Backoff(self._stop)
        while not self._stop.is_set():
            stream = _Stream(self._spool, self._lease_token, self._directives, self._stop)
            try:
                stream.run(self._stage_client, backoff)
            except LeaseLostError:
                self._directives.lose()
                return
            except TailraceError as error:
                if not self._may_repeat(error):
                    self._directives.abort(f"the control plane refused events: {error}")
                    return
                _log.warning("event stream broke", error=str(error), code=error.code.name)
            if backoff.wait():
                return

    def _may_repeat(self, error: TailraceError) -> bool:
        if isinstance(error, ResourceExhausted) and error.reason != STORED_BYTES:
            # An event that is too large for a message would be repeated without end.
            first = self._spool.batch(self._spool.acknowledged + 1)
            return not first or len(first[0]) < BATCH_BYTES
        if self._spool.acknowledged > self._acknowledged_before:
            self._acknowledged_before, self._faults = self._spool.acknowledged, 0
        if error.code in FAULT_CODES:
            self._faults += 1
            return self._faults < _MAX_FAULTS
        return is_transient(error) or error.code is grpc.StatusCode.CANCELLED


class _Stream:
    """One PublishEvents call, whose requests are generated in a thread of gRPC."""

    def __init__(
        self, spool: Spool, lease_token: str, directives: Directives, stop: threading.Event
    ) -> None:
        self._spool = spool
        self._lease_token = lease_token
        self._directives = directives
        self._stop = stop
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._sent = spool.acknowledged
        self._under_way: deque[_Batch] = deque()
        self._rewinds = 0

    def run(self, stage_client: StageClient, backoff: Backoff) -> None:
        """Send events and process acknowledgements until the stream ends or breaks.

        Raises:
            LeaseLostError: The lease is lost.
            TailraceError: The stream broke for another reason.
        """
        call = stage_client.publish(self._requests())
        watch = threading.Thread(target=self._end_when_stalled, args=(call,), daemon=True)
        watch.start()
        try:
            for response in call:
                backoff.reset()
                self._take(response)
        except grpc.RpcError as error:
            if not self._stop.is_set():
                raise typed_error(error) from error
        finally:
            self._over.set()
            self._spool.wake()
            call.cancel()
            watch.join()

    def _requests(self) -> Iterator[stage_pb2.PublishEventsRequest]:
        while not self._ended():
            if not self._spool.wait(self._worth_a_look, _POLL_SECONDS):
                continue
            time.sleep(_GATHER_SECONDS)
            with self._lock:
                first = self._sent + 1
                bodies = self._spool.batch(first)
                if not bodies:
                    continue
                self._sent += len(bodies)
                self._under_way.append(_Batch(self._sent, self._rewinds))
            faults.before(Moment.EVENTS)
            events = [stage_pb2.StageEvent.FromString(body) for body in bodies]
            yield stage_pb2.PublishEventsRequest(
                lease_token=self._lease_token, first_sequence=first, events=events
            )

    def _worth_a_look(self) -> bool:
        waiting = self._sent < self._spool.last_sequence and len(self._under_way) < _WINDOW
        return waiting or self._ended()

    def _ended(self) -> bool:
        return self._over.is_set() or self._stop.is_set()

    def _take(self, response: stage_pb2.PublishEventsResponse) -> None:
        faults.after(Moment.EVENTS)
        acknowledged = response.acknowledged_sequence
        with self._lock:
            batch = self._under_way.popleft() if self._under_way else None
            if acknowledged < self._spool.acknowledged:
                self._directives.abort(
                    f"the control plane lost events: it has {acknowledged} of an attempt of which "
                    f"it had acknowledged {self._spool.acknowledged}"
                )
            elif batch and acknowledged < batch.last and batch.rewind == self._rewinds:
                # A gap was refused; the answers to the batches in flight behind it repeat that.
                self._rewinds += 1
                self._sent = acknowledged
            self._sent = max(self._sent, min(acknowledged, self._spool.last_sequence))
        self._spool.acknowledge(acknowledged)
        self._directives.direct(response.directive)

    def _end_when_stalled(self, call: EventCall) -> None:
        while not self._over.wait(_POLL_SECONDS):
            with self._lock, contextlib.suppress(IndexError):
                if time.monotonic() - self._under_way[0].sent_at > _STALL_SECONDS:
                    call.cancel()
            if self._stop.is_set() and not self._over.wait(_END_SECONDS):
                # The requests have ended, so a reachable control plane would end the call.
                call.cancel()
