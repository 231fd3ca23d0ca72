"""The bare SDK: what ``import tailrace`` may load."""

from __future__ import annotations

import json
import subprocess
import sys

SCRIPT = """
import json, sys
import tailrace
first = sorted(m for m in sys.modules if m.startswith("tailrace"))
for name in tailrace.__all__:
    getattr(tailrace, name)
from tailrace.client import aio, blocking
tops = {module.partition(".")[0] for module in sys.modules}
# Cython registers itself under several names; the finder is that of editable installs.
own = {top for top in tops if top.startswith(("_", "cython"))}
third = tops - own - set(sys.stdlib_module_names)
print(json.dumps({"first": first, "third": sorted(third)}))
"""

ALLOWED = {
    "tailrace",
    "grpc",  # grpcio
    "grpc_status",
    "google",  # protobuf, googleapis-common-protos
    "tenacity",
    "typing_extensions",  # of grpcio
    # What grpc uses where it happens to be installed.
    "grpc_health",
    "grpc_reflection",
    "grpc_tools",
    "setuptools",
    "tornado",
}


def _imported() -> dict[str, list[str]]:
    command = [sys.executable, "-I", "-c", SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    result: dict[str, list[str]] = json.loads(done.stdout)
    return result


def test_the_sdk_needs_its_own_dependencies_only() -> None:
    imported = _imported()
    assert imported["first"] == ["tailrace"], "nothing is loaded before it is used"
    assert {"grpc", "tenacity", "tailrace"} <= set(imported["third"])
    assert not set(imported["third"]) - ALLOWED
