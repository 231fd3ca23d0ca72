"""``make prose``: the figures of the project's prose, then the offences or the worst files."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Iterator

from tests.prose.measures import Report, measure


def main(arguments: list[str] | None = None) -> int:
    """Print the figures and offences of the paths given; always 0, the test holds the bars."""
    parser = argparse.ArgumentParser(prog="python -m tests.prose", description=__doc__)
    parser.add_argument("paths", nargs="*", help="files or folders (default: the whole project)")
    parser.add_argument(
        "--worst", type=int, metavar="N", help="print the N worst files, not every offence"
    )
    parser.add_argument("--only", metavar="FIGURE", help="print the offences of one figure")
    options = parser.parse_args(arguments)
    report = measure(options.paths)
    lines = [f"{figure:16} {round(value, 2):g}" for figure, value in report.figures.items()]
    if options.worst is not None:
        lines += ["", *_worst(report, options.worst)]
    else:
        offences = sorted(report.offences)
        lines += ["", *(str(o) for o in offences if options.only in (None, o.figure))]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


def _worst(report: Report, number: int) -> Iterator[str]:
    """Yield the files with the most offences, then the folders that are too large."""
    files: dict[str, Counter[str]] = {}
    for offence in report.offences:
        if offence.figure != "largest_folder":
            files.setdefault(offence.path, Counter())[offence.figure] += 1
    for path, counts in sorted(files.items(), key=lambda pair: -pair[1].total())[:number]:
        detail = ", ".join(f"{figure} {count}" for figure, count in counts.most_common())
        yield f"{counts.total():4} {path} ({detail})"
    for offence in report.of("largest_folder"):
        yield f"     {offence.path}: {offence.text}"


if __name__ == "__main__":
    sys.exit(main())
