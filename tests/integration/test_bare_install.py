"""The bare SDK works with nothing but its own dependencies."""

from __future__ import annotations

import importlib.metadata as metadata
import subprocess
import sys
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]

PROGRAM = """
import sys
import tailrace
from tailrace.formats.spec.run_spec import RunSpec
client = tailrace.Client("127.0.0.1:1", retry=tailrace.RetryPolicy(attempts=1))
tailrace.AsyncClient
try:
    client.get_run("nobody-there")
except tailrace.TailraceError as error:
    print(type(error).__name__)
loaded = {name.partition(".")[0] for name in sys.modules}
print(sorted(loaded & {"jax", "flax", "celery", "kombu", "sqlalchemy", "transformers", "numpy"}))
"""


def closure(name: str) -> set[str]:
    """The distributions that ``pip install name`` brings, without extras."""
    found: set[str] = set()
    todo = [name]
    while todo:
        dist = canonicalize_name(todo.pop())
        if dist in found:
            continue
        found.add(dist)
        for line in metadata.requires(dist) or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                todo.append(requirement.name)
    return found


def link(dist: str, folder: Path) -> None:
    """Put a distribution's files into ``folder``."""
    for file in metadata.files(dist) or []:
        if ".." in file.parts or "__pycache__" in file.parts:
            continue
        target = folder / file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(Path(str(file.locate())).resolve())


def test_the_sdk_needs_only_its_own_dependencies(tmp_path: Path) -> None:
    needed = closure("tailrace") - {"tailrace"}
    assert needed <= {
        "grpcio",
        "grpcio-status",
        "googleapis-common-protos",
        "protobuf",
        "tenacity",
        "typing-extensions",
    }
    for dist in needed:
        link(dist, tmp_path)
    (tmp_path / "tailrace").symlink_to(ROOT / "tailrace")
    done = subprocess.run(
        [
            sys.executable,
            "-I",
            "-S",
            "-c",
            f"import sys; sys.path.append({str(tmp_path)!r})\n{PROGRAM}",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["Unavailable", "[]"]
