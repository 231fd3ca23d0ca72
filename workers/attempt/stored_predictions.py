"""Stored predictions of earlier attempts of a stage, after which the next one continues."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import grpc

from tailrace.formats.data.jsonl import write_records
from tailrace.formats.data.prediction import Prediction
from tailrace.formats.limits import MAX_PAGE_ENTRIES
from tailrace.formats.schema import parse
from tailrace.protomap import to_mapping
from tailrace.v1 import run_pb2, run_pb2_grpc
from workers.stage_client import typed_error

CALL_SECONDS = 60.0
"""Deadline of the call for one page, in seconds."""


def write_stored_predictions(channel: grpc.Channel, run_uid: str, path: Path) -> None:
    """Write the stored predictions of a run as JSON lines; the channel carries the run's lease.

    Raises:
        TailraceError: The control plane does not answer, or has no such run.
        ValueError: A prediction violates the schema.
        OSError: The disk is full.
    """
    write_records(path, _stored(run_pb2_grpc.RunServiceStub(channel), run_uid))


def _stored(stub: run_pb2_grpc.RunServiceStub, run_uid: str) -> Iterator[Prediction]:
    request = run_pb2.ListPredictionsRequest(parent=f"runs/{run_uid}", page_size=MAX_PAGE_ENTRIES)
    while True:
        try:
            page = stub.ListPredictions(request, timeout=CALL_SECONDS)
        except grpc.RpcError as error:
            raise typed_error(error) from error
        for message in page.predictions:
            yield parse(Prediction, to_mapping(message, defaults=True))
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token
