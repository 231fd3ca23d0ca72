from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from training.errors import ConfigError
from training.machine.runtime import device_name, host_key, limit_threads, prepare_process

PROBE = """
import json, os, sys
from pathlib import Path
from training.machine.runtime import Device, device_name, prepare_process, require_device
prepare_process(Device.CPU, threads=1, cache_dir=Path(sys.argv[1]))
require_device()
import jax
jax.jit(lambda x: x * 3)(1.0).block_until_ready()
print(json.dumps({
    "device": device_name(),
    "cores": len(os.sched_getaffinity(0)),
    "omp": os.environ["OMP_NUM_THREADS"],
    "cached": {p.name: len(list(p.iterdir())) for p in Path(sys.argv[1]).iterdir()},
}))
"""


def test_it_is_too_late_once_jax_is_imported() -> None:
    import jax  # noqa: F401

    with pytest.raises(ConfigError, match="before anything imports jax"):
        prepare_process()


def test_device_threads_and_cache_take_effect(tmp_path: object) -> None:
    command = [sys.executable, "-c", PROBE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    seen = json.loads(done.stdout.splitlines()[-1])
    assert (seen["device"], seen["cores"], seen["omp"]) == ("cpu", 1, "1")
    assert list(seen["cached"]) == [host_key()]
    assert seen["cached"][host_key()] > 0


def test_hosts_with_other_instructions_share_no_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    def told(flags: str) -> str:
        text = f"processor : 0\nmodel name\t: EPYC\nflags\t\t: {flags}\n"
        monkeypatch.setattr(Path, "read_text", lambda *_, **__: text)
        return host_key()

    assert told("avx avx2") == told("avx2 avx")
    assert told("avx avx2") != told("avx avx2 avx512f")


def test_more_threads_than_cores() -> None:
    cores = len(os.sched_getaffinity(0))
    with pytest.raises(ConfigError, match=f"but there are {cores} cores"):
        limit_threads(cores + 1)


def test_a_missing_device_is_named_with_the_way_out() -> None:
    code = (
        "from training.machine.runtime import *\n"
        "prepare_process(Device.TPU)\n"
        "try: require_device()\n"
        "except Exception as error: print(type(error).__name__, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.startswith("DeviceError JAX cannot use the device 'tpu'")
    assert "--device auto or cpu" in done.stdout


def test_device_name() -> None:
    assert device_name()
