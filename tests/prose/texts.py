"""The prose of the repository: docstrings, comments, messages, protos and pages."""

from __future__ import annotations

import ast
import enum
import io
import re
import subprocess
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = ("tailrace", "services", "workers", "training")
PAGES = ("README.md", "docs")
_GENERATED = re.compile(r"^tailrace/v1/|/migrations/versions/")
_MESSAGE_WORDS = 4
_EXEMPT = re.compile(r"prose-ok: *\w")
_HELP_KEYWORDS = frozenset({"help", "short_help", "epilog"})


class Medium(enum.StrEnum):
    """Kind of prose; each has figures of its own, so that none hides behind another."""

    CODE = "code"
    MESSAGES = "messages"
    PROTOS = "protos"
    PAGES = "pages"


@dataclass(frozen=True)
class Text:
    """One docstring, comment, message or page, and its place."""

    path: str
    line: int
    medium: Medium
    text: str
    opens: bool = False
    """True if its first word counts: docstrings, help texts and comments of protos."""
    exempt: bool = False
    """True if one of its lines opts out with a reason."""


@dataclass
class Source:
    """One file: its texts, the names that it binds and its length."""

    path: str
    lines: int
    texts: list[Text]
    names: list[tuple[int, str]] = field(default_factory=list)
    """Line and name of every variable and parameter."""
    definitions: list[tuple[int, str]] = field(default_factory=list)
    """Line and name of every class, function and attribute."""
    exempt: frozenset[int] = frozenset()
    """Lines that opt out with a reason."""


def read_sources(paths: Iterable[str] = ()) -> Iterator[Source]:
    """Read the tracked files under the paths, or all that the measures cover."""
    for name in tracked(*(paths or (*FOLDERS, "protos", *PAGES))):
        path = ROOT / name
        reader = _READERS.get(path.suffix)
        if reader is not None:
            yield reader(name, path.read_text(encoding="utf-8"))


def folder_sizes() -> dict[str, int]:
    """Count the Python modules directly in each folder, tests included."""
    sizes: dict[str, int] = {}
    for name in tracked(*FOLDERS, "tests", "benchmarks"):
        path = Path(name)
        if path.suffix == ".py" and path.name != "__init__.py":
            folder = path.parent.as_posix()
            sizes[folder] = sizes.get(folder, 0) + 1
    return sizes


def tracked(*paths: str) -> list[str]:
    """Return the files under the paths that git tracks, without generated ones and migrations."""
    command = ["git", "-C", str(ROOT), "ls-files", "-z", "--", *paths]
    listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [
        name
        for name in sorted(listing.split("\0"))
        if name and not _GENERATED.search(name) and (ROOT / name).is_file()
    ]


def python_source(path: str, source: str) -> Source:
    """Read a Python file."""
    tree = ast.parse(source)
    comments = list(_python_comments(source))
    exempt = frozenset(line for line, _, text in comments if _EXEMPT.search(text))
    texts = [
        *_blocks(path, Medium.CODE, comments, exempt),
        *_docstrings(path, tree, exempt),
        *_messages(path, tree, exempt),
    ]
    return Source(
        path,
        source.count("\n"),
        sorted(texts, key=lambda text: text.line),
        list(_bound_names(tree)),
        list(_definitions(tree)),
        exempt,
    )


def proto_source(path: str, source: str) -> Source:
    """Read the comments of a proto."""
    comments = list(_proto_comments(source))
    exempt = frozenset(line for line, _, text in comments if _EXEMPT.search(text))
    texts = list(_blocks(path, Medium.PROTOS, comments, exempt, opens=True))
    return Source(path, source.count("\n"), texts, exempt=exempt)


def page_source(path: str, source: str) -> Source:
    """Read a Markdown page without its code."""
    lines = source.split("\n")
    fence = ""
    for number, line in enumerate(lines):
        mark = re.match(r" *(```+|~~~+)", line)
        if fence or mark:
            lines[number] = ""
        if mark and not fence:
            fence = mark.group(1)
        elif mark and mark.group(1).startswith(fence):
            fence = ""
    prose = "\n".join(lines)
    prose = re.sub(r"(`+)(?!`).+?(?<!`)\1(?!`)", _blank, prose, flags=re.DOTALL)
    exempt = frozenset(
        prose.count("\n", 0, mark.start()) + 1
        for mark in re.finditer(r"<!--.*?-->", prose, re.DOTALL)
        if _EXEMPT.search(mark.group())
    )
    prose = re.sub(r"<!--.*?-->", _blank, prose, flags=re.DOTALL)
    return Source(path, len(lines), [Text(path, 1, Medium.PAGES, prose)], exempt=exempt)


_READERS = {".py": python_source, ".proto": proto_source, ".md": page_source}


def _blank(match: re.Match[str]) -> str:
    return "…" + "\n" * match.group().count("\n")


def _python_comments(source: str) -> Iterator[tuple[int, int, str]]:
    """Yield (line, column, text) of every comment; the column is -1 behind code."""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            alone = not token.line[: token.start[1]].strip()
            yield token.start[0], token.start[1] if alone else -1, token.string.lstrip("# ")


def _proto_comments(source: str) -> Iterator[tuple[int, int, str]]:
    for match in re.finditer(r'"(?:\\.|[^"\\])*"|//[^\n]*|/\*.*?\*/', source, re.DOTALL):
        if match.group().startswith("/"):
            start = source.rfind("\n", 0, match.start()) + 1
            alone = not source[start : match.start()].strip()
            line = source.count("\n", 0, match.start()) + 1
            yield line, match.start() - start if alone else -1, match.group().strip("/* ")


def _blocks(
    path: str,
    medium: Medium,
    comments: list[tuple[int, int, str]],
    exempt: frozenset[int],
    opens: bool = False,
) -> Iterator[Text]:
    """Join comments on consecutive lines, so that a phrase is seen across a line break."""
    block: list[tuple[int, int, str]] = []
    for comment in [*comments, (-1, -1, "")]:
        line, column, _ = comment
        if block and (column < 0 or (block[-1][0] + 1, block[-1][1]) != (line, column)):
            covered = _covered(block[0][0], block[-1][0], exempt)
            yield Text(
                path, block[0][0], medium, "\n".join(text for *_, text in block), opens, covered
            )
            block = []
        block.append(comment)


def _docstrings(path: str, tree: ast.AST, exempt: frozenset[int]) -> Iterator[Text]:
    """Yield every docstring, those of attributes included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            words = node.value.value
            if isinstance(words, str):
                yield _text(path, Medium.CODE, node, words, True, exempt)


def _messages(path: str, tree: ast.AST, exempt: frozenset[int]) -> Iterator[Text]:
    """Yield the strings that users and operators read: errors, log lines and help texts.

    Every string of some length counts: an error is often built far from where it is raised.
    """
    helps = {string: words for node in ast.walk(tree) for string, words in _help_texts(node)}
    for string, words in _strings(tree):
        if string in helps or len(words.split()) >= _MESSAGE_WORDS:
            yield _text(path, Medium.MESSAGES, string, words, string in helps, exempt)


def _help_texts(node: ast.AST) -> Iterator[tuple[ast.expr, str]]:
    """Yield the help text of an option, argument, command or spec key."""
    if isinstance(node, ast.Call):
        for keyword in node.keywords:
            if keyword.arg in _HELP_KEYWORDS:
                yield from _strings(keyword.value)
        if _called(node) == "key" and node.args:
            yield from _strings(node.args[0])


def _called(call: ast.Call) -> str:
    """Return the last name of what is called."""
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


def _strings(node: ast.AST) -> Iterator[tuple[ast.expr, str]]:
    """Yield every string below a node but docstrings, with ``x`` for the values put into it."""
    if isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else "x" for part in node.values]
        yield node, "".join(map(str, parts))
    elif isinstance(node, ast.Constant):
        if isinstance(node.value, str):
            yield node, node.value
    elif not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
        for child in ast.iter_child_nodes(node):
            yield from _strings(child)


def _text(
    path: str,
    medium: Medium,
    node: ast.expr | ast.stmt,
    words: str,
    opens: bool,
    exempt: frozenset[int],
) -> Text:
    covered = _covered(node.lineno, node.end_lineno or node.lineno, exempt)
    return Text(path, node.lineno, medium, words, opens, covered)


def _covered(first: int, last: int, exempt: frozenset[int]) -> bool:
    return any(first <= line <= last for line in exempt)


def _bound_names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg


def _definitions(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.lineno, node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr
