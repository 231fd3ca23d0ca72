"""Content whose names and texts try to leave their place on a page."""

from __future__ import annotations

import json

import tailrace
from services.domain.event import LogLevel
from services.usecases.content import promotion
from services.usecases.content.promotion import Promotion
from tests.servers.control_plane import ServedControlPlane
from tests.unit.services.driver import CALLER, Driver, line
from tests.unit.services.usecases.content.test_promotion import finish

HOSTILE = "</td></script><script>alert('x')</script><img src=x onerror=alert(1)>\u202egnp.exe"
LONG = "all work and no play " * 2380
"""A cell of 50 kB."""

NAME = "hostile"
"""Id of the dataset, the eval set, the model and the run."""

WORKER = "w1"


def fill(served: ServedControlPlane, client: tailrace.Client) -> None:
    """Store a dataset, an eval set, runs, a model and a worker."""
    client.seed_dataset("golden-v2")
    rows = [
        {"prompt": HOSTILE, "completion": LONG, "metadata": {"<b>": HOSTILE}, "id": "<i>1"},
        {"prompt": f"{HOSTILE} {LONG} again", "completion": LONG},
        {"prompt": f"{HOSTILE} {LONG} once more", "completion": LONG},
    ]
    lines = "\n".join(map(json.dumps, rows)).encode()
    client.import_dataset(NAME, lines, description=HOSTILE)
    item = {"id": HOSTILE, "prompt": LONG, "expected_answer": HOSTILE, "category": "<script>"}
    client.import_eval_set(NAME, json.dumps(item).encode(), description=HOSTILE)
    served.call(_run(Driver(served.control_plane.context, WORKER, hostname=HOSTILE)))


async def _run(driver: Driver) -> None:
    await driver.register(judges={"foreign": "<script>1"}, slots=2)
    await finish(driver, NAME, labels={"team": HOSTILE})
    force = {"force": True, "reason": HOSTILE}
    command = Promotion(run_id=NAME, model_id=NAME, description=HOSTILE, **force)
    model = await promotion.promote(driver.context, CALLER, command)
    await promotion.set_alias(driver.context, CALLER, model.name, "prod", model.version)
    await driver.create("failing", labels={"team": HOSTILE}, cache=False)
    order = await driver.start("failing")
    await driver.publish(order, 1, line(HOSTILE, LogLevel.ERROR), line(LONG))
    await driver.fail(order, retryable=False)
    await driver.create("waiting", cache=False)
    await driver.beat(quarantine={"cpu-1": HOSTILE}, broker_error=HOSTILE)
