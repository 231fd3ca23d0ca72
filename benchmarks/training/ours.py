"""The library's side of a race: ``python -m benchmarks.training.ours SHAPE``."""

from __future__ import annotations

import sys

from benchmarks.racer import serve
from benchmarks.training.shapes import SHAPES
from benchmarks.training.subject import Subject


def main(name: str) -> None:
    """Serve steps of the shape ``name``."""
    shape = SHAPES[name]
    subject = Subject(shape)

    def steps(count: int) -> None:
        for _ in range(count // shape.steps):
            subject.call()

    serve(steps)


if __name__ == "__main__":
    main(sys.argv[1])
