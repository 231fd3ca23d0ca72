"""``python -m tests.prose.only_words BASE [PATHS...]``: fails unless only words changed since BASE.

The modes are those of the ``Prose:`` trailer of a commit: ``words`` (docstrings and comments),
``names`` (local names as well) and ``strings`` (texts of messages as well). Pages may change in
every mode.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.prose.compare_bytecode import compare_names
from tests.prose.compare_trees import compare_protos, compare_strings, compare_words

MODES = {"words": compare_words, "names": compare_names, "strings": compare_strings}
"""Comparison of two versions of a Python file, by mode."""
_TRAILER = re.compile(r"^Prose: *(.*?) *$", re.MULTILINE)


def main(arguments: list[str] | None = None, root: Path | None = None) -> int:
    """Print each file's first difference; 1 if there is one."""
    parser = argparse.ArgumentParser(prog="python -m tests.prose.only_words", description=__doc__)
    parser.add_argument("base", help="git revision to compare with")
    parser.add_argument("paths", nargs="*", help="files or folders (default: all)")
    parser.add_argument("--to", help="git revision to compare (default: the working tree)")
    parser.add_argument("--names", dest="mode", action="store_const", const="names")
    parser.add_argument("--strings", dest="mode", action="store_const", const="strings")
    parser.add_argument(
        "--each",
        action="store_true",
        help="check every commit since BASE that has a Prose: trailer, in the mode it names",
    )
    options = parser.parse_args(arguments)
    repository = Repository(root or Path.cwd())
    if options.each:
        problems = list(repository.check_each(options.base, options.paths))
    else:
        mode = options.mode or "words"
        problems = list(repository.check(mode, options.base, options.to, options.paths))
    for problem in problems:
        sys.stdout.write(f"{problem}\n")
    return 1 if problems else 0


class Repository:
    """Git repository whose revisions are compared."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def check_each(self, base: str, paths: list[str]) -> Iterator[str]:
        """Check every commit since a revision that declares a mode; yield what differs."""
        log = self._git("log", "--reverse", "--no-merges", "--format=%x00%H%n%B", f"{base}..HEAD")
        for entry in filter(None, log.split("\0")):
            commit, _, message = entry.partition("\n")
            mode = ", ".join(_TRAILER.findall(message))
            if mode and mode not in MODES:
                yield f"{commit[:10]}: Prose: must be one of {', '.join(MODES)}: {mode}"
            elif mode:
                for problem in self.check(mode, f"{commit}^", commit, paths):
                    yield f"{commit[:10]} ({mode}): {problem}"

    def check(self, mode: str, base: str, to: str | None, paths: list[str]) -> Iterator[str]:
        """Compare two revisions, or one and the working tree; yield the files that differ."""
        revisions = [base] if to is None else [base, to]
        listing = self._git(
            "diff", "--no-renames", "--name-status", "-z", *revisions, "--", *paths
        ).split("\0")
        for status, path in zip(listing[::2], listing[1::2], strict=False):
            problem = self._difference(mode, status, path, base, to)
            if problem is not None:
                yield f"{path}: {problem}"

    def _difference(
        self, mode: str, status: str, path: str, base: str, to: str | None
    ) -> str | None:
        suffix = Path(path).suffix
        if suffix == ".md" or (mode == "strings" and _is_expectation(path)):
            return None
        if status != "M":
            return f"only the words of a file may change; git reports {status}"
        compare = compare_protos if suffix == ".proto" else MODES[mode]
        if suffix not in (".py", ".pyi", ".proto"):
            return "only Python files, protos and pages have words to change"
        return compare(self._read(path, base), self._read(path, to))

    def _read(self, path: str, revision: str | None) -> str:
        if revision is None:
            return (self._root / path).read_text(encoding="utf-8")
        return self._git("show", f"{revision}:{path}")

    def _git(self, *arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(self._root), *arguments],
            check=True,
            capture_output=True,
            text=True,
            encoding="utf-8",
        ).stdout


def _is_expectation(path: str) -> bool:
    """Return True for a file of expected output, which follows the strings that it quotes."""
    return path.startswith("tests/") and Path(path).suffix in (".json", ".txt", ".golden")


if __name__ == "__main__":
    sys.exit(main())
