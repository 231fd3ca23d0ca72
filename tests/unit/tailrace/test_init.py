"""The bare SDK: what ``import tailrace`` may load."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

import tailrace

SCRIPT = """
import json, sys
import tailrace
first = sorted(m for m in sys.modules if m.startswith("tailrace"))
names = dir(tailrace)
for name in tailrace.__all__:
    getattr(tailrace, name)
from tailrace.client import aio, blocking
tops = {module.partition(".")[0] for module in sys.modules}
# Cython registers itself under several names; the finder is that of editable installs.
own = {top for top in tops if top.startswith(("_", "cython"))}
third = tops - own - set(sys.stdlib_module_names)
print(json.dumps({"first": first, "names": names, "third": sorted(third)}))
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
    report: dict[str, list[str]] = json.loads(done.stdout)
    return report


def test_the_sdk_needs_its_own_dependencies_only() -> None:
    imported = _imported()
    assert imported["first"] == ["tailrace"], "nothing is loaded before it is used"
    assert {"grpc", "tenacity", "tailrace"} <= set(imported["third"])
    assert not set(imported["third"]) - ALLOWED


def test_dir_shows_public_names_only() -> None:
    assert _imported()["names"] == sorted(tailrace.__all__)
    assert dir(tailrace) == sorted(tailrace.__all__)


def test_the_version_is_that_of_the_package() -> None:
    assert tailrace.__version__ == metadata.version("tailrace")


def test_a_folder_that_is_not_installed_has_no_version(tmp_path: Path) -> None:
    home = Path(tailrace.__file__).parent
    (tmp_path / "tailrace").symlink_to(home)
    script = (
        f"import sys; sys.path[:0] = [{str(tmp_path)!r}]; import tailrace; tailrace.__version__"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True
    )
    assert "AttributeError: tailrace has no version: it is not installed" in done.stderr


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Clinet'"):
        getattr(tailrace, "Clinet")  # noqa: B009
