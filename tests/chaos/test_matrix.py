from __future__ import annotations

from dataclasses import astuple
from itertools import product

from tailrace.formats.faults import Moment
from tests.chaos.matrix import Fault, Kind, Side, Target, cover, pairs, possible


def test_every_possible_pair_is_covered_by_at_most_80_cells() -> None:
    cells = [astuple(cell) for cell in cover()]
    assert all(possible(*cell) for cell in cells)
    everything = [c for c in product(Target, Fault, Moment, Side, Kind) if possible(*c)]
    wanted = {pair for cell in everything for pair in pairs(cell)}
    assert wanted == {pair for cell in cells for pair in pairs(cell)}
    assert len(cells) <= 80
    assert cells == [astuple(cell) for cell in cover()]
