from __future__ import annotations

import tailrace
from tests.servers.control_plane import ServedControlPlane
from tests.unit.services.driver import Driver
from tests.unit.tailrace.console.conftest import Visitor


async def test_a_worker_is_drained_and_undrained(
    visitor: Visitor, served: ServedControlPlane, client: tailrace.Client
) -> None:
    driver = Driver(served.control_plane.context, "gpu-host")
    served.call(driver.register(pools=("h200",)))
    served.call(driver.beat(quarantine={"cpu-0": "a process is left over"}))
    page = (await visitor.get("/fleet")).text
    assert "h200" in page
    assert "quarantine: a process is left over" in page
    await visitor.get("/workers/gpu-host")
    assert (await visitor.post("/workers/gpu-host/drain")).status_code == 303
    assert client.get_worker("gpu-host").drained
    assert "Undrain" in (await visitor.get("/workers/gpu-host")).text
    assert (await visitor.post("/workers/gpu-host/undrain")).status_code == 303
    assert not client.get_worker("gpu-host").drained


async def test_what_waits_is_listed_with_the_reason(
    visitor: Visitor, client: tailrace.Client
) -> None:
    client.seed_dataset("golden-v2")
    client.create_run(
        {
            "dataset": "golden-v2",
            "model": {"preset": "gpt2-nano"},
            "train": {"max_steps": 1},
            "execution": {"train": {"pool": "tpu-of-nobody"}},
        },
        run_id="waiting",
    )
    page = (await visitor.get("/fleet")).text
    assert '<a href="/runs/waiting">' in page
    assert client.get_run("waiting").stages[0].waiting_reason
    assert "waits for a slot" not in page
