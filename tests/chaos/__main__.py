"""``make chaos``: the whole matrix, then a seeded walk of rounds of random faults; counts."""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from tailrace.formats.faults import Moment
from tests.chaos.audit import Findings
from tests.chaos.clusters import clusters
from tests.chaos.experiment import Experiments, Hit
from tests.chaos.matrix import Cell, Kind, cover, faults_of, rollout_cells
from tests.chaos.strike import NoTargetError

FAULTS = 4
"""Faults of one round of the walk; its run has to live through them."""


class Experiment(NamedTuple):
    """What is done on a cluster, and then audited."""

    name: str
    faults: int
    do: Callable[[Experiments], Findings]


def main() -> int:
    """Do what the arguments say; 1 when a promise was broken or an experiment was in vain."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--rounds", type=int, default=0, help="of random faults, on both stacks")
    parser.add_argument("--cells", default="0/1", help="part of the matrix: I/N, or none")
    parser.add_argument("--moment", choices=list(Moment), type=Moment, help="its cells only")
    parser.add_argument("--kind", choices=list(Kind), type=Kind, help="one stack only")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin nothing later")
    parser.add_argument("--verbose", action="store_true", help="show logs of what failed")
    options = parser.parse_args()
    counts: Counter[str] = Counter()
    for kind in [options.kind] if options.kind else list(Kind):
        todo = [
            *_cells(kind, options.cells, options.moment),
            *_walk(kind, options.seed, options.rounds),
        ]
        if todo:
            with tempfile.TemporaryDirectory(prefix="tailrace-chaos-") as name:
                _on_one_cluster(kind, Path(name), todo, counts, options)
    print(
        f"seed {options.seed}: {counts['done']} faults: {counts['lost']} lost, "
        f"{counts['double']} double, {counts['gaps']} gaps, {counts['left']} left behind, "
        f"{counts['failed']} failed, {counts['in vain']} in vain, {counts['skipped']} skipped"
    )
    return 1 if counts.total() > counts["done"] + counts["skipped"] else 0


def _on_one_cluster(
    kind: Kind,
    base: Path,
    todo: Iterable[Experiment],
    counts: Counter[str],
    options: argparse.Namespace,
) -> None:
    deadline = time.monotonic() + options.seconds
    folder = base / kind
    folder.mkdir()
    with clusters(kind, folder) as cluster:
        experiments = Experiments(cluster)
        for name, faults, do in todo:
            if time.monotonic() > deadline:
                counts["skipped"] += faults
                continue
            began = time.monotonic()
            problems: list[str] = []
            counts["done"] += faults
            try:
                findings = do(experiments)
                counts.update({what: len(texts) for what, texts in vars(findings).items()})
                problems = findings.all()
            except NoTargetError as error:
                counts["in vain"] += 1
                problems = [f"in vain: {error}"]
            except Exception:  # noqa: BLE001 - counted, shown, and the others go on
                counts["failed"] += 1
                problems = [traceback.format_exc(limit=-2)]
                if options.verbose:
                    problems.append(cluster.logs())
            print(f"{time.monotonic() - began:6.1f} s  {name}", flush=True)
            for problem in problems:
                print(f"          {problem}", flush=True)


def _cells(kind: Kind, part: str, moment: Moment | None) -> list[Experiment]:
    if part == "none":
        return []
    index, count = map(int, part.split("/"))
    every = [*cover(), *rollout_cells()]
    matching = [c for c in every if c.kind is kind and moment in (None, c.moment)]
    cells = matching[index::count]
    return [Experiment(str(cell), 1, _cell(cell)) for cell in cells]


def _cell(cell: Cell) -> Callable[[Experiments], Findings]:
    return lambda experiments: experiments.cells(cell)


def _walk(kind: Kind, seed: int, rounds: int) -> list[Experiment]:
    """This stack's half of the rounds."""
    chance = random.Random(f"{seed}.{kind}")
    half = rounds // 2 if kind is Kind.EMBEDDED else rounds - rounds // 2
    possible = faults_of(kind)
    found = []
    for number in range(1, half + 1):
        hits = [Hit(chance.uniform(0.0, 8.0), *chance.choice(possible)) for _ in range(FAULTS)]
        name = f"{kind} round {number}: {', '.join(map(str, hits))}"
        found.append(Experiment(name, len(hits), _random(hits)))
    return found


def _random(hits: list[Hit]) -> Callable[[Experiments], Findings]:
    return lambda experiments: experiments.at_random(hits)


if __name__ == "__main__":
    sys.exit(main())
