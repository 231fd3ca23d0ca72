"""The checker of sweeps accepts words in each mode, and nothing else."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.prose.compare_bytecode import compare_names
from tests.prose.compare_trees import compare_protos, compare_strings, compare_words
from tests.prose.only_words import main

FUNCTION = '''
"""What the module is."""

LIMIT = 1
"""How many."""


class Stage:
    """Which stage."""

    name: str
    """Its name."""


def collect(runs, limit=LIMIT, *, key=None):
    """What is found."""
    found = []
    for each in runs:  # every one
        if each.state is not None:
            found.append((lambda: [each.state, found, "left {}", key])())
    try:
        told = len(found)
    except ValueError as made:
        raise KeyError(f"{made} is no {key} of {limit}") from made
    else:
        told += 1
    return {"told": told, "found": [each for each in found if each]}
'''

WORDS = [
    ("What is found.", "Return the states."),
    ('    """What is found."""\n', ""),
    ('"""How many."""', ""),
    ('"""How many."""', '"""Maximum.\n\nOf them.\n"""'),
    ('    """Its name."""\n', ""),
    ("# every one", "# why"),
    ("  # every one", ""),
    ("found = []\n", "# The states.\n    found = []\n\n"),
    ("    found.append((lambda: [", "    found.append(\n                (lambda: ["),
]
NAMES = [
    ("found", "states"),
    ("each", "run"),
    ("told", "count"),
    ("made", "error"),
]
STRINGS = [
    ('f"{made} is no {key} of {limit}"', 'f"{made} is not a {key} of {limit}"'),
    ('f"{made} is no {key} of {limit}"', 'f"of {limit}: {key} is not {made}."'),
    ('"left {}"', '"remaining {}"'),
]
CHANGES = [
    ("LIMIT = 1", "LIMIT = 2"),
    ("name: str", "title: str"),
    ("is not None", "is None"),
    ("each.state is", "each.status is"),
    ("key=None", "key=0"),
    ("+= 1", "+= 2"),
    ("+= 1", "+= True"),
    ("len(found)", "sum(found)"),
    ("[each for each in found if each]", "(each for each in found if each)"),
    ("class Stage", "class Step"),
    ("def collect", "def gather"),
    ("for each in runs", "for each in limit"),
    ("found, ", "runs, "),
    ("return {", "yield {"),
    ("from made", "from None"),
    ("ValueError", "OSError"),
    ("    else:\n        told += 1\n", "    told += 1\n"),
    ('"told": told, "found": [', '"found": told, "told": ['),
]
PARAMETERS = [("limit=LIMIT", "most=LIMIT"), ("runs", "items"), ("*, key", "*, each_key")]


def replaced(old: str, new: str, source: str = FUNCTION) -> str:
    assert old in source
    return source.replace(old, new)


def renamed(old: str, new: str) -> str:
    """Rename a variable of the sample, but not the keys that are called the same."""
    keys = {f'"{old}"': "\0", f' {old}."""': "\1"}
    source = FUNCTION
    for text, mark in keys.items():
        source = source.replace(text, mark)
    source = source.replace(old, new)
    for text, mark in keys.items():
        source = source.replace(mark, text)
    return source


@pytest.mark.parametrize("compare", [compare_words, compare_names, compare_strings])
@pytest.mark.parametrize(("old", "new"), WORDS)
def test_docstrings_and_comments_are_words_in_every_mode(compare, old: str, new: str) -> None:
    changed = replaced(old, new)
    if old.startswith("    found.append"):
        changed = changed.replace("key])())", "key])()\n            )")
    assert changed != FUNCTION
    assert compare(FUNCTION, changed) is None
    assert compare(changed, FUNCTION) is None


@pytest.mark.parametrize("compare", [compare_words, compare_names, compare_strings])
@pytest.mark.parametrize(("old", "new"), CHANGES)
def test_what_a_module_does_may_change_in_no_mode(compare, old: str, new: str) -> None:
    assert compare(FUNCTION, replaced(old, new)) is not None
    assert compare(replaced(old, new), FUNCTION) is not None


@pytest.mark.parametrize(("old", "new"), NAMES)
def test_local_names_change_in_their_mode_alone(old: str, new: str) -> None:
    changed = renamed(old, new)
    assert compare_names(FUNCTION, changed) is None
    assert compare_names(changed, FUNCTION) is None
    assert compare_words(FUNCTION, changed) is not None
    assert compare_strings(FUNCTION, changed) is not None


@pytest.mark.parametrize(("old", "new"), STRINGS)
def test_texts_change_in_their_mode_alone(old: str, new: str) -> None:
    changed = replaced(old, new)
    assert compare_strings(FUNCTION, changed) is None
    assert compare_words(FUNCTION, changed) is not None
    assert compare_names(FUNCTION, changed) is not None


@pytest.mark.parametrize("compare", [compare_words, compare_names, compare_strings])
@pytest.mark.parametrize(("old", "new"), PARAMETERS)
def test_parameters_keep_their_names(compare, old: str, new: str) -> None:
    assert compare(FUNCTION, replaced(old, new)) is not None


def in_function(*lines: str) -> str:
    return "def run(a, b):\n" + "".join(f"    {line}\n" for line in lines)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        # One name for two things becomes two names, and the other way round.
        (
            ["for each in a: print(each)", "for each in b: print(each)"],
            ["for run in a: print(run)", "for stage in b: print(stage)"],
        ),
        # A comprehension has a separate scope.
        (["found = [each for each in a]", "each = 1"], ["x = [y for y in a]", "z = 1"]),
        # The order of shared variables is that of their names.
        (
            ["m = 1", "n = 2", "return lambda: (m, n)"],
            ["z = 1", "c = 2", "return lambda: (z, c)"],
        ),
        (
            ["m = 1", "def inner():", "  nonlocal m", "  m += 1", "  return lambda: m", "return m"],
            ["k = 1", "def inner():", "  nonlocal k", "  k += 1", "  return lambda: k", "return k"],
        ),
        (
            ["with a as told, b as made:", "  match told:", "    case [each, *there]: return each"],
            ["with a as x, b as y:", "  match x:", "    case [head, *tail]: return head"],
        ),
        (["found: int = 1", "del found"], ["x: int = 1", "del x"]),
        (["import os as found", "return found"], ["import os as x", "return x"]),
        (["while (found := a()): yield found"], ["while (x := a()): yield x"]),
        (
            ["try: found = a", "except b: found = b", "return found"],
            ["try: x = a", "except b: x = b", "return x"],
        ),
    ],
)
def test_renaming_keeps_what_each_load_reads(old: list[str], new: list[str]) -> None:
    assert compare_names(in_function(*old), in_function(*new)) is None
    assert compare_names(in_function(*new), in_function(*old)) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (["x = 1", "y = 2", "return x"], ["x = 1", "y = 2", "return y"]),
        (["x = 1", "y = 2", "return x"], ["z = 1", "z = 2", "return z"]),
        (["x = 1", "return x, a"], ["a = 1", "return a, a"]),
        (["x = 1", "return x"], ["x = 1", "return y"]),
        (["x = 1", "if a: x = 2", "return x"], ["x = 1", "if a: y = 2", "return x"]),
        (["for x in a: pass", "return x"], ["x = b", "for y in a: pass", "return x"]),
        (["x = 1", "while a: b(x); x = 2"], ["x = 1", "while a: b(x); y = 2"]),
        (
            ["x = 1", "try: x = 2; a()", "except b: return x"],
            ["x = 1", "try: y = 2; a()", "except b: return x"],
        ),
        (
            ["m = n = 1", "return lambda: (m, n)"],
            ["m = n = 1", "return lambda: (n, m)"],
        ),
        (
            ["m, n = a", "return lambda: m"],
            ["m, n = a", "return lambda: n"],
        ),
        (["x = 1", "return lambda: x"], ["x = 1", "return lambda: a"]),
        (["x = 1", "return lambda y: y"], ["x = 1", "return lambda z: z"]),
        (["def x(): pass", "return x"], ["def y(): pass", "return y"]),
        (["class X: found = 1"], ["class X: made = 1"]),
        (["x = 1", "return locals()"], ["y = 1", "return locals()"]),
        (["x = 1", "return f'{x=}'"], ["y = 1", "return f'{y=}'"]),
        (["global x", "x = 1"], ["global y", "y = 1"]),
        (["global x", "x = 1"], ["x = 1"]),
        (["return (1, 1.0)"], ["return (1, 1)"]),
        (["return a in {1, 2}"], ["return a in {1, 3}"]),
    ],
)
def test_renaming_that_changes_a_value_is_refused(old: list[str], new: list[str]) -> None:
    assert compare_names(in_function(*old), in_function(*new)) is not None
    assert compare_names(in_function(*new), in_function(*old)) is not None


def test_the_names_of_a_module_are_not_local() -> None:
    assert compare_names("found = 1\n", "made = 1\n") is not None


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("x['a key'] = f'{a}'", "x['a key'] = f'{b}'", False),
        ("x = 'found it'", "x = f'found it'", True),
        ("x = 'found it'", "x = f'found {a}'", False),
        ("x = f'{a:.2f} s'", "x = f'{a:.3f} s'", False),
        ("x = f'{a} is {a}'", "x = f'it is {a}'", False),
        ("x = 'found'", "x = 'made'", False),
        ("x = 'found'", "x = 'found it'", True),
        ("x = 'Why.'", "x = 'Reason.'", True),
        ("x = ''", "x = 'found'", False),
        ("x = b'a b'", "x = b'a c'", False),
        ("x = 'one text'", "x = ('another '\n 'text')", True),
    ],
)
def test_keys_and_values_in_texts_stay(old: str, new: str, same: bool) -> None:
    assert (compare_strings(old, new) is None) is same


PROTO = """\
syntax = "proto3"; // version
// What a run is.
message Run {
  /* Where. */ string name = 1 [default = "// none"];
}
"""


@pytest.mark.parametrize(
    ("old", "new", "same"),
    [
        ("// What a run is.", "// One request.\n// With stages.", True),
        ("// What a run is.\n", "", True),
        ("/* Where. */", "// Resource name.\n", True),
        (" // version", "", True),
        ("name = 1", "name = 2", False),
        ("name", "title", False),
        ("// none", "// one", False),
        ("string", "bytes", False),
        ("message Run {", "message Run { reserved 2;", False),
    ],
)
def test_comments_alone_change_in_protos(old: str, new: str, same: bool) -> None:
    assert (compare_protos(PROTO, replaced(old, new, PROTO)) is None) is same


class Repository:
    """A git repository with one file of each kind."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.git("init", "-q", "-b", "main")
        self.git("config", "user.name", "Tester")
        self.git("config", "user.email", "tester@example.org")
        self.write("run.py", FUNCTION)
        self.write("run.proto", PROTO)
        self.write("README.md", "What it is.\n")
        self.write("tests/help.txt", "What it is.\n")
        self.commit("Start")

    def git(self, *arguments: str) -> str:
        command = ["git", "-C", str(self.root), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def write(self, path: str, text: str) -> None:
        target = self.root / path
        target.parent.mkdir(exist_ok=True)
        target.write_text(text, encoding="utf-8")

    def commit(self, message: str) -> None:
        self.git("add", "-A")
        self.git("commit", "-q", "-m", message)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def test_the_working_tree_is_compared(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    repository.write("run.py", replaced(*WORDS[0]))
    repository.write("run.proto", PROTO.replace("What a run is.", "One request."))
    repository.write("README.md", "Another page.\n")
    assert main(["HEAD"], repository.root) == 0
    repository.write("run.py", replaced("LIMIT = 1", "LIMIT = 2"))
    assert main(["HEAD"], repository.root) == 1
    assert capsys.readouterr().out == "run.py: line 4: 1 became 2\n"
    assert main(["HEAD", "run.proto"], repository.root) == 0


def test_the_mode_says_what_may_change(repository: Repository) -> None:
    repository.write("run.py", renamed("told", "count"))
    assert main(["HEAD"], repository.root) == 1
    assert main(["HEAD", "--names"], repository.root) == 0
    repository.write("run.py", replaced(*STRINGS[0]))
    repository.write("tests/help.txt", "Description.\n")
    assert main(["HEAD"], repository.root) == 1
    assert main(["HEAD", "--strings"], repository.root) == 0


@pytest.mark.parametrize("path", ["new.py", "data.yaml"])
def test_no_other_file_may_change(repository: Repository, path: str) -> None:
    repository.write(path, "")
    repository.git("add", "-A")
    assert main(["HEAD"], repository.root) == 1


def test_a_file_may_not_go(repository: Repository) -> None:
    (repository.root / "run.py").unlink()
    assert main(["HEAD"], repository.root) == 1


def test_each_commit_is_checked_in_the_mode_that_it_declares(
    repository: Repository, capsys: pytest.CaptureFixture[str]
) -> None:
    repository.write("run.py", replaced(*WORDS[0]))
    repository.commit("Plain words\n\nProse: words")
    repository.write("run.py", replaced("LIMIT = 1", "LIMIT = 2"))
    repository.commit("A higher limit")
    repository.write("run.py", replaced("LIMIT = 1", "LIMIT = 2").replace("told", "count"))
    repository.commit("Nouns\n\nProse: names")
    assert main(["HEAD~3", "--each"], repository.root) == 1
    out = capsys.readouterr().out
    commit = repository.git("rev-parse", "HEAD").strip()[:10]
    assert out.splitlines() == [
        f"{commit} (names): run.py: collect: LOAD_CONST ('told', 'found') became "
        "LOAD_CONST ('count', 'found')"
    ]
    assert main(["HEAD~3", "run.proto", "--each"], repository.root) == 0


@pytest.mark.parametrize(
    ("message", "mode"),
    [
        ("Nouns\n\nProse: nouns", "nouns"),
        ("Nouns\n\nProse: nouns\nThis is not a trailer.", "nouns"),
        ("Nouns\n\nProse: words\nProse: names", "words, names"),
    ],
)
def test_an_unknown_mode_is_refused(
    repository: Repository, capsys: pytest.CaptureFixture[str], message: str, mode: str
) -> None:
    repository.write("README.md", "Anything.\n")
    repository.commit(message)
    assert main(["HEAD~1", "--each"], repository.root) == 1
    assert f"must be one of words, names, strings: {mode}\n" in capsys.readouterr().out
