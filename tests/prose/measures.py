"""The figures of the style guide, and the places that raise them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.prose.texts import Medium, Source, Text, folder_sizes, read_sources
from tests.prose.words import GENERIC, OPENER, PRIVATE, VAGUE, idioms

LARGE_FOLDER = 20
"""Modules that a folder may have without being an offence."""


class Offence(NamedTuple):
    """One place that raises a figure."""

    path: str
    line: int
    figure: str
    text: str

    def __str__(self) -> str:
        """Return the offence as ``file:line: text``."""
        return f"{self.path}:{self.line}: {self.figure}: {self.text}"


@dataclass
class Report:
    """Figures and offences of a set of files."""

    figures: dict[str, float]
    offences: list[Offence]

    def of(self, figure: str) -> list[Offence]:
        """Return the offences that raise one figure."""
        return [offence for offence in self.offences if offence.figure == figure]


@dataclass
class _Tally:
    """Totals that the figures are relative to."""

    lines: int = 0
    openings: Counter[Medium] = field(default_factory=Counter)
    words: Counter[Medium] = field(default_factory=Counter)
    exempt: int = 0


def measure(paths: Iterable[str] = ()) -> Report:
    """Measure the tracked files under the paths, or the whole project."""
    paths = tuple(paths)
    report = measure_sources(read_sources(paths))
    sizes = {
        folder: size
        for folder, size in folder_sizes().items()
        if not paths or any(f"{folder}/".startswith(f"{path.rstrip('/')}/") for path in paths)
    }
    report.figures["largest_folder"] = max(sizes.values(), default=0)
    report.offences += [
        Offence(folder, 1, "largest_folder", f"{size} modules")
        for folder, size in sorted(sizes.items(), key=lambda pair: -pair[1])
        if size > LARGE_FOLDER
    ]
    return report


def measure_sources(sources: Iterable[Source]) -> Report:
    """Measure texts and names; folders are left to :func:`measure`."""
    tally = _Tally()
    offences: list[Offence] = []
    for source in sources:
        tally.exempt += len(source.exempt)
        if source.path.endswith(".py"):
            tally.lines += source.lines
        for text in source.texts:
            tally.words[text.medium] += len(text.text.split())
            tally.openings[text.medium] += text.opens
            offences += _text_offences(source, text)
        offences += _name_offences(source)
    counts = Counter(offence.figure for offence in offences)
    figures = {
        _opener_figure(medium): 100
        * counts[_opener_figure(medium)]
        / max(tally.openings[medium], 1)
        for medium in (Medium.CODE, Medium.MESSAGES, Medium.PROTOS)
    }
    figures["vague"] = 1000 * counts["vague"] / max(tally.lines, 1)
    for medium in Medium:
        figure = _idiom_figure(medium)
        figures[figure] = 1000 * counts[figure] / max(tally.words[medium], 1)
    figures |= {"private": counts["private"], "generic": counts["generic"]}
    figures["exempt"] = tally.exempt
    return Report(figures, offences)


def _opener_figure(medium: Medium) -> str:
    return "openers" if medium is Medium.CODE else f"openers_{medium}"


def _idiom_figure(medium: Medium) -> str:
    return "idiom" if medium is Medium.CODE else f"idiom_{medium}"


def _text_offences(source: Source, text: Text) -> list[Offence]:
    if text.exempt:
        return []
    offences = []
    if text.opens and OPENER.match(text.text.strip()):
        opening = text.text.strip().splitlines()[0]
        offences.append(Offence(text.path, text.line, _opener_figure(text.medium), opening))
    for offset, phrase, replacement in idioms(text.text):
        line = text.line + text.text.count("\n", 0, offset)
        if line not in source.exempt:
            hint = f"“{phrase}” → {replacement}"
            offences.append(Offence(text.path, line, _idiom_figure(text.medium), hint))
    return offences


def _name_offences(source: Source) -> list[Offence]:
    offences = []
    for line, name in source.names:
        if name in VAGUE:
            offences.append(Offence(source.path, line, "vague", name))
        if name in GENERIC:
            offences.append(Offence(source.path, line, "generic", name))
    for line, name in (*source.names, *source.definitions):
        if name in PRIVATE:
            hint = f"{name} → {PRIVATE[name]}"
            offences.append(Offence(source.path, line, "private", hint))
    return [offence for offence in offences if offence.line not in source.exempt]
