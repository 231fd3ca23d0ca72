"""Each rule of the measures counts what it names, and nothing like it."""

from __future__ import annotations

import textwrap

import pytest

from tests.prose.measures import Report, measure_sources
from tests.prose.texts import page_source, proto_source, python_source, read_sources


def python(source: str) -> Report:
    return measure_sources([python_source("sample.py", textwrap.dedent(source))])


def phrases(report: Report) -> list[tuple[str, int, str]]:
    return [
        (offence.figure, offence.line, offence.text.split("”")[0].removeprefix("“"))
        for offence in report.offences
    ]


@pytest.mark.parametrize(
    ("docstring", "counts"),
    [
        ("What the stage returns.", True),
        ("Whether it is done.", True),
        ("Why: unknown.", True),
        ("Return what the stage returns.", False),
        ("Whatever.", False),
        ("Outcome of the stage.", False),
    ],
)
@pytest.mark.parametrize(
    "frame",
    [
        '"""{}"""\n',
        'class Stage:\n    """{}"""\n',
        'def run():\n    """{}"""\n',
        'NAME = 1\n"""{}"""\n',
    ],
)
def test_openers_of_docstrings_count(frame: str, docstring: str, counts: bool) -> None:
    report = python(frame.format(docstring))
    assert report.figures["openers"] == (100 if counts else 0)


def test_an_opener_of_a_comment_does_not_count() -> None:
    report = python("# What follows is sorted.\nx = 1\n")
    assert report.offences == []


def test_openers_are_a_share_of_the_docstrings() -> None:
    report = python(
        'a = 1\n"""Where."""\nb = 2\n"""Place."""\nc = 3\n"""Time."""\nd = 4\n"""Cause."""\n'
    )
    assert report.figures["openers"] == 25
    assert [(offence.line, offence.text) for offence in report.of("openers")] == [(2, "Where.")]


def test_openers_of_help_texts_and_spec_keys_count_whatever_their_length() -> None:
    report = python(
        """
        option = Option("--x", help="What it is.")
        other = Option("--y", help="Description.")
        seed = key("Where it starts.", default=1)
        epochs = key("Passes over the data.", default=1)
        """
    )
    assert report.figures["openers_messages"] == 50
    assert [offence.line for offence in report.of("openers_messages")] == [2, 4]


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("found = 1\n", ["found"]),
        ("for each in x: pass\n", ["each"]),
        ("[told for told in x]\n", ["told"]),
        ("def run(made): pass\n", ["made"]),
        ("lambda kept: 1\n", ["kept"]),
        ("(there := 1)\n", ["there"]),
        ("run.found = 1\n", []),
        ("print(found)\n", []),
        ("founded = foundry = 1\n", []),
        ("def found(): pass\n", []),
    ],
)
def test_vague_names_count_where_they_are_bound(source: str, names: list[str]) -> None:
    assert [offence.text for offence in python(source).of("vague")] == names


def test_vague_names_are_counted_per_thousand_lines() -> None:
    assert python("found = 1\n" + "x = 1\n" * 99).figures["vague"] == 10


@pytest.mark.parametrize(
    ("source", "count"),
    [("result = data = tmp = 1\n", 3), ("def f(item, obj, info): pass\n", 3), ("results = 1\n", 0)],
)
def test_generic_names_are_counted(source: str, count: int) -> None:
    assert python(source).figures["generic"] == count


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("class Wish: pass\n", 1),
        ("def sight(): pass\n", 1),
        ("self.seat = 1\n", 1),
        ("wave = 1\n", 1),
        ("class WishList: pass\n", 0),
        ("wavelength = oversight = 1\n", 0),
    ],
)
def test_private_words_count_where_they_are_defined(source: str, count: int) -> None:
    assert python(source).figures["private"] == count


@pytest.mark.parametrize(
    "phrase",
    [
        "start anew",
        "wait for ever",
        "whoever asks",
        "the key beside the value",
        "it shall fail",
        "cannot be had",
        "is no part of it",
        "if it is not there",
        "it is at it",
        "a name of its own",
        "two names of their own",
        "the file lies in the folder",
        "files lie on the disk",
        "workers are told",
        "as told",
        "tells whether it ended",
        "kept as it is",
        "as there is a limit",
        "somebody asks, ",
        "nobody asks",
        "this is no checkpoint",
        "these are no numbers",
        "the file came whole",
        "print at most so many",
        "made if it is there",
        "Number of slots; else one",
        "So has the other",
        "what ``respond`` makes of it",
        "the whence and hence",
    ],
)
def test_an_idiom_counts_once_in_every_kind_of_prose(phrase: str) -> None:
    sources = [
        python_source("a.py", f'"""Now {phrase} again."""\n'),
        python_source("b.py", f"# Now. {phrase} again\n"),
        python_source("c.py", f"raise ValueError('Now. {phrase} again')\n"),
        proto_source("d.proto", f"// Now. {phrase} again\nmessage Run {{}}\n"),
        page_source("e.md", f"# Now\n\nNow. {phrase} again\n"),
    ]
    figures = [offence.figure for offence in measure_sources(sources).offences]
    assert figures == ["idiom", "idiom", "idiom_messages", "idiom_protos", "idiom_pages"]


@pytest.mark.parametrize(
    "phrase",
    [
        "there is no checkpoint",
        "There are no numbers",
        "is no longer valid",
        "are no more than ten",
        "is no faster than before",
        "the default is no limit",
        "forever",
        "besides",
        "its own name",
        "a value lies between the bounds",
        "a belief in telling",
        "so many that it fails",
        "only so many fit",
        "the fault lies with them",
        "if a else b",
        "so has",
        "the whole file came",
        "there it is",
        "is not therefore wrong",
        "marshalled",
    ],
)
def test_plain_english_does_not_count(phrase: str) -> None:
    assert python(f'"""Now {phrase}."""\n').offences == []
    assert python(f"# Now {phrase}\n").offences == []


def test_idioms_are_counted_per_thousand_words_of_their_medium() -> None:
    report = python('"""One two anew."""\n# four five six seven eight nine ten\n')
    assert report.figures["idiom"] == 100
    assert report.figures["idiom_messages"] == 0


def test_a_phrase_is_seen_across_a_line_break_and_reported_where_it_begins() -> None:
    report = python(
        '''
        def run():
            """Start.

            It has a name of its
            own.
            """
            # It cannot be
            # had today.
            x = 1  # for
            y = 1  # ever
        '''
    )
    assert phrases(report) == [("idiom", 5, "of its own"), ("idiom", 8, "be had")]


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("raise ValueError('x is no y')\n", 1),
        ("raise ValueError('is no y')\n", 0),
        ("raise ValueError(f'{x} is no {y}, sorry')\n", 1),
        ("log.warning('nobody answers any more')\n", 1),
        ("problem = 'nobody answers any more'\n", 1),
        ("option('--x', help='nobody')\n", 1),
        ("option('--x', name='nobody')\n", 0),
    ],
)
def test_messages_are_help_texts_and_strings_of_four_words(source: str, count: int) -> None:
    assert len(python(source).of("idiom_messages")) == count


def test_code_on_pages_is_not_prose() -> None:
    page = """\
        Write `anew` and ``be `had` anew`` never.

        ```bash
        echo anew
        ```
        ~~~
        ``` anew
        ~~~
        Start anew. <!-- anew -->
        """
    report = measure_sources([page_source("page.md", textwrap.dedent(page))])
    assert phrases(report) == [("idiom_pages", 9, "anew")]


def test_strings_and_code_of_protos_are_not_prose() -> None:
    proto = """\
        // Which run, anew.
        string anew = 1 [default = "// nobody"];
        /* The stage,
         * for ever. */
        int32 shall = 2; // nobody
        """
    report = measure_sources([proto_source("run.proto", textwrap.dedent(proto))])
    assert phrases(report) == [
        ("openers_protos", 1, "Which run, anew."),
        ("idiom_protos", 1, "anew"),
        ("idiom_protos", 4, "for ever"),
        ("idiom_protos", 5, "nobody"),
    ]


def test_a_line_opts_out_with_a_reason() -> None:
    sources = [
        python_source(
            "a.py",
            "found = 1  # prose-ok: the name that the library gives it\n"
            'Q = """You are told\n'
            'by nobody."""  # prose-ok: a pinned prompt\n',
        ),
        proto_source("b.proto", "int32 a = 1; // anew prose-ok: a quotation\n"),
        page_source("c.md", "Start anew. <!-- prose-ok: a quotation -->\n"),
    ]
    report = measure_sources(sources)
    assert report.offences == []
    assert report.figures["exempt"] == 4


def test_a_line_without_a_reason_does_not_opt_out() -> None:
    report = python("found = 1  # prose-ok:\nmade = 1\n")
    assert [offence.text for offence in report.offences] == ["found", "made"]
    assert report.figures["exempt"] == 0


def test_stubs_and_migrations_are_left_out() -> None:
    paths = [source.path for source in read_sources(["tailrace", "services"])]
    assert "tailrace/__init__.py" in paths
    assert not any("/v1/" in path or "migrations/versions" in path for path in paths)
