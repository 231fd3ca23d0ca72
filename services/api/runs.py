"""Servicer of RunService."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from weakref import WeakKeyDictionary

from services.api.convert.comparison import comparison_to_proto
from services.api.convert.evaluation import prediction_to_proto, verdict_to_proto
from services.api.convert.log import end_to_proto, line_to_proto, lines_to_proto
from services.api.convert.metric import metric_to_proto
from services.api.convert.run import refuse_old_fields, run_to_proto
from services.api.convert.values import enum_from_proto, plain
from services.api.rpc import Rpc, current_caller
from services.domain.event import Channel, MetricPoint
from services.domain.run import parse_run_name
from services.runtime.off_loop import run_off_loop
from services.usecases.context import Context
from services.usecases.quotas.streams import OpenStreams
from services.usecases.runs import cancel, compare, create, follow, read, retry, watch
from tailrace.v1 import evaluation_pb2, run_pb2, run_pb2_grpc


class RunServicer(run_pb2_grpc.RunServiceServicer):
    """Servicer of ``protos/tailrace/v1/run.proto``."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._streams = OpenStreams(context.settings.max_open_streams)
        self._responses: WeakKeyDictionary[follow.Piece, run_pb2.StreamLogsResponse] = (
            WeakKeyDictionary()
        )

    async def CreateRun(self, request: run_pb2.CreateRunRequest, context: Rpc) -> run_pb2.Run:
        """Accept a run durably."""
        size, spec = request.ByteSize(), None
        if request.HasField("spec"):
            refuse_old_fields(request.spec)
            spec = await run_off_loop(size, plain, request.spec, "spec")
        command = create.CreateRun(
            run_id=request.run_id,
            spec=spec,
            request_id=request.request_id,
            validate_only=request.validate_only,
            size=size,
        )
        return run_to_proto(await create.create_run(self._context, current_caller(), command))

    async def GetRun(self, request: run_pb2.GetRunRequest, context: Rpc) -> run_pb2.Run:
        """Return a run."""
        run_id = parse_run_name(request.name)
        return run_to_proto(await read.get_run(self._context, current_caller(), run_id))

    async def ListRuns(
        self, request: run_pb2.ListRunsRequest, context: Rpc
    ) -> run_pb2.ListRunsResponse:
        """List runs, newest first by default."""
        command = read.ListRuns(
            request.filter, request.order_by, request.page_size, request.page_token
        )
        page, token = await read.list_runs(self._context, current_caller(), command)
        response = run_pb2.ListRunsResponse(next_page_token=token)
        for view in page:
            response.runs.append(run_to_proto(view))
            # Converting a page of large specs would delay other calls.
            await asyncio.sleep(0)
        return response

    async def CancelRun(self, request: run_pb2.CancelRunRequest, context: Rpc) -> run_pb2.Run:
        """Cancel a run."""
        run_id = parse_run_name(request.name)
        return run_to_proto(await cancel.cancel_run(self._context, current_caller(), run_id))

    async def RetryRun(self, request: run_pb2.RetryRunRequest, context: Rpc) -> run_pb2.Run:
        """Queue a failed or cancelled run again."""
        run_id = parse_run_name(request.name)
        return run_to_proto(
            await retry.retry_run(self._context, current_caller(), run_id, request.request_id)
        )

    async def WatchRun(
        self, request: run_pb2.WatchRunRequest, context: Rpc
    ) -> AsyncIterator[run_pb2.WatchRunResponse]:
        """Stream the run now and after each change."""
        views = watch.watch_run(
            self._context,
            current_caller(),
            parse_run_name(request.name),
            after_revision=request.after_revision,
        )
        with self._streams.open():
            async for view in views:
                yield run_pb2.WatchRunResponse(run=run_to_proto(view))

    async def StreamLogs(
        self, request: run_pb2.StreamLogsRequest, context: Rpc
    ) -> AsyncIterator[run_pb2.StreamLogsResponse]:
        """Stream log lines in order, each exactly once per cursor."""
        command = follow.Follow(Channel.LOGS, request.cursor, request.follow, request.stage)
        run_id = parse_run_name(request.name)
        async for piece in self._follow(run_id, command):
            response = self._log_response(piece, request)
            if response.lines or piece.end is not None:
                yield response

    def _log_response(
        self, piece: follow.Piece, request: run_pb2.StreamLogsRequest
    ) -> run_pb2.StreamLogsResponse:
        """Return the message of a piece; followers of an unfiltered log share it."""
        unfiltered = not request.min_level and not request.contains
        response = self._responses.get(piece) if unfiltered else None
        if response is None:
            response = run_pb2.StreamLogsResponse(
                stage=piece.stage_id,
                attempt=piece.attempt,
                lines=lines_to_proto(
                    piece.first_sequence,
                    piece.records,
                    min_level=request.min_level,
                    contains=request.contains,
                ),
                cursor=piece.cursor.encode(),
                end=end_to_proto(piece.end, piece.cached_from),
            )
        if unfiltered:
            self._responses[piece] = response
        return response

    async def ListLogLines(
        self, request: run_pb2.ListLogLinesRequest, context: Rpc
    ) -> run_pb2.ListLogLinesResponse:
        """List log lines of one attempt from a place on."""
        place = follow.LogPlace(
            stage=request.stage,
            attempt=request.attempt,
            sequence=request.sequence,
            backwards=request.backwards,
            size=request.page_size,
            min_level=request.min_level,
            contains=request.contains,
        )
        run_id = parse_run_name(request.name)
        page = await follow.list_lines(self._context, current_caller(), run_id, place)
        return run_pb2.ListLogLinesResponse(
            lines=[line_to_proto(number, *record) for number, record in page.lines],
            next_sequence=page.next_sequence,
            attempt=page.attempt,
            line_count=page.line_count,
            cursor=page.cursor.encode(),
        )

    async def StreamMetrics(
        self, request: run_pb2.StreamMetricsRequest, context: Rpc
    ) -> AsyncIterator[run_pb2.StreamMetricsResponse]:
        """Stream metric points in order, each exactly once per cursor."""
        command = follow.Follow(Channel.METRICS, request.cursor, request.follow)
        run_id = parse_run_name(request.name)
        names = set(request.metric_names)
        async for piece in self._follow(run_id, command):
            points = [MetricPoint.from_record(record) for record in piece.records]
            selection = [point for point in points if not names or point.name in names]
            if selection:
                yield run_pb2.StreamMetricsResponse(
                    stage=piece.stage_id,
                    attempt=piece.attempt,
                    points=map(metric_to_proto, selection),
                    cursor=piece.cursor.encode(),
                )

    async def CompareRuns(
        self, request: run_pb2.CompareRunsRequest, context: Rpc
    ) -> run_pb2.CompareRunsResponse:
        """Compare runs with the first of them."""
        run_ids = [parse_run_name(name, f"names[{i}]") for i, name in enumerate(request.names)]
        comparison = await compare.compare_runs(self._context, current_caller(), run_ids)
        return comparison_to_proto(comparison)

    async def ListPredictions(
        self, request: run_pb2.ListPredictionsRequest, context: Rpc
    ) -> run_pb2.ListPredictionsResponse:
        """List predictions by eval set and item."""
        bodies, token = await read.list_predictions(
            self._context,
            current_caller(),
            parse_run_name(request.parent, "parent"),
            eval_set=request.eval_set,
            size=request.page_size,
            token=request.page_token,
        )
        return run_pb2.ListPredictionsResponse(
            predictions=map(prediction_to_proto, bodies), next_page_token=token
        )

    async def ListVerdicts(
        self, request: run_pb2.ListVerdictsRequest, context: Rpc
    ) -> run_pb2.ListVerdictsResponse:
        """List verdicts by eval set and item."""
        outcome = request.outcome
        bodies, token = await read.list_verdicts(
            self._context,
            current_caller(),
            parse_run_name(request.parent, "parent"),
            eval_set=request.eval_set,
            judge=request.judge,
            outcome=enum_from_proto(evaluation_pb2.Outcome, outcome) if outcome else "",
            size=request.page_size,
            token=request.page_token,
        )
        return run_pb2.ListVerdictsResponse(
            verdicts=map(verdict_to_proto, bodies), next_page_token=token
        )

    async def _follow(self, run_id: str, command: follow.Follow) -> AsyncIterator[follow.Piece]:
        with self._streams.open():
            async for piece in follow.follow(self._context, current_caller(), run_id, command):
                yield piece
