"""Fleet: pools, workers with their slots, and the runs that wait."""

from __future__ import annotations

import asyncio

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from tailrace.client.aio import AsyncClient
from tailrace.console.changes import change
from tailrace.console.rendering import client, render
from tailrace.protomap import enum_word
from tailrace.v1 import run_pb2, worker_pb2

_MAX_WORKERS = 500
_MAX_WAITING = 100
_MAX_READ = 20
_UNFINISHED = ("QUEUED", "RUNNING")


async def fleet(request: Request) -> Response:
    """Show the pools, the workers and the stages that wait, with the reason."""
    plane = client(request)
    pools, workers, waiting = await asyncio.gather(
        plane.list_pools(), _workers(plane), _waiting(plane)
    )
    return render(
        request,
        "fleet.html",
        pools=pools.pools,
        workers=workers[:_MAX_WORKERS],
        has_more=len(workers) > _MAX_WORKERS,
        waiting=waiting[:_MAX_WAITING],
        has_more_waiting=len(waiting) > _MAX_WAITING,
        flower=request.app.state.settings.flower_url,
        worker_state=worker_state,
    )


async def worker(request: Request) -> Response:
    """Show a worker with its slots and versions."""
    message = await client(request).get_worker(f"workers/{request.path_params['name']}")
    return render(
        request,
        "worker.html",
        worker=message,
        flower=request.app.state.settings.flower_url,
        worker_state=worker_state,
        accelerator=accelerator,
    )


async def drain(request: Request, form: FormData) -> Response:
    """Let a worker take no more stages."""
    del form
    changed = await client(request).drain_worker(request.path_params["name"])
    return RedirectResponse(f"/{changed.name}", 303)


async def undrain(request: Request, form: FormData) -> Response:
    """Let a drained worker take stages again."""
    del form
    changed = await client(request).undrain_worker(request.path_params["name"])
    return RedirectResponse(f"/{changed.name}", 303)


async def _workers(plane: AsyncClient) -> list[worker_pb2.Worker]:
    return [w async for w in plane.list_workers(limit=_MAX_WORKERS + 1)]


async def _waiting(plane: AsyncClient) -> list[tuple[run_pb2.Run, run_pb2.Stage]]:
    """Return the queued stages, those of the newest runs first.

    A list of runs has no reasons for waiting: the newest runs are read one by one.
    """
    runs = [
        run
        for state in _UNFINISHED
        async for run in plane.list_runs(filter=f"state = {state}", limit=_MAX_WAITING + 1)
        if any(map(_is_waiting, run.stages))
    ]
    newest = await asyncio.gather(*(plane.get_run(run.name) for run in runs[:_MAX_READ]))
    return [
        (run, stage)
        for run in [*newest, *runs[_MAX_READ:]]
        for stage in run.stages
        if _is_waiting(stage)
    ]


def _is_waiting(stage: run_pb2.Stage) -> bool:
    return bool(stage.waiting_reason) or stage.state == run_pb2.STAGE_STATE_QUEUED


def worker_state(worker: worker_pb2.Worker) -> str:
    """Return the state of a worker in a word."""
    return enum_word(worker_pb2.WorkerState.DESCRIPTOR, worker.state).upper()


def accelerator(slot: worker_pb2.Slot) -> str:
    """Return the hardware of a slot in a word."""
    return enum_word(worker_pb2.AcceleratorType.DESCRIPTOR, slot.accelerator)


ROUTES = [
    Route("/fleet", fleet),
    change("/workers/{name}/drain", drain),
    change("/workers/{name}/undrain", undrain),
    Route("/workers/{name}", worker),
]
