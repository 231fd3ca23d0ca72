"""Kinds of file that people mistake for JSON Lines, and how to convert them."""

from __future__ import annotations

import re

from tailrace.formats.data.record import SCHEMAS, DatasetKind

_PANDAS = "write it as JSON Lines first (pandas: {}.to_json(OUT, orient='records', lines=True))"

_UNPACK = "is compressed with {0}: unpack it first ({1} FILE)"

_CONVERT = "is {0} text: convert it (iconv -f {0}{1} -t UTF-8 FILE > OUT)"

_CELL = rb"(\"[^\"]*\"|[\w\x80-\xff][\w\x80-\xff .-]*|)"
"""A field of a table's first line: quoted text, words, or nothing (the index of pandas)."""

_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (b"\x1f\x8b", _UNPACK.format("gzip", "gunzip --keep")),
    (b"\x28\xb5\x2f\xfd", _UNPACK.format("Zstandard", "unzstd")),
    (b"\xfd7zXZ\0", _UNPACK.format("xz", "unxz --keep")),
    (b"BZh", _UNPACK.format("bzip2", "bunzip2 --keep")),
    (b"7z\xbc\xaf\x27\x1c", _UNPACK.format("7-Zip", "7z e")),
    (b"PK\x03\x04", "is a ZIP archive (as Excel files are, too): give the text inside it"),
    (b"PAR1", "is a Parquet file: " + _PANDAS.format("read_parquet(FILE)")),
    (b"ARROW1", "is an Arrow file: " + _PANDAS.format("read_feather(FILE)")),
    (b"\xff\xff\xff\xff", "is an Arrow stream: write it as JSON Lines first"),
    (b"Obj\x01", "is an Avro file: write it as JSON Lines first"),
    (b"SQLite format 3\0", "is an SQLite database: write the rows as JSON Lines first"),
    (b"%PDF", "is a PDF: write its content as JSON Lines"),
    (
        b"version https://git-lfs",
        "is a pointer of Git LFS, not the file itself: fetch it (git lfs pull)",
    ),
    (b"\xff\xfe\0\0", "is UTF-32 text: convert it (iconv -f UTF-32 -t UTF-8 FILE > OUT)"),
    (b"\0\0\xfe\xff", "is UTF-32 text: convert it (iconv -f UTF-32 -t UTF-8 FILE > OUT)"),
    (b"\xff\xfe", "is UTF-16 text: convert it (iconv -f UTF-16 -t UTF-8 FILE > OUT)"),
    (b"\xfe\xff", "is UTF-16 text: convert it (iconv -f UTF-16 -t UTF-8 FILE > OUT)"),
    (
        b"\xef\xbb\xbf",
        "begins with a byte order mark: save it as UTF-8 without one (tail -c +4 FILE > OUT)",
    ),
)
"""Kinds of file by their first bytes; a longer prefix precedes its own prefixes."""

_TEXTS: tuple[tuple[re.Pattern[bytes], str], ...] = (
    (re.compile(rb"[\[{\"\w]\0\0\0"), _CONVERT.format("UTF-32", "LE")),
    (re.compile(rb"\0\0\0[\[{\"\w]"), _CONVERT.format("UTF-32", "BE")),
    (re.compile(rb"[\[{]\0|[\w\"]\0[^\0]\0"), _CONVERT.format("UTF-16", "LE")),
    (re.compile(rb"\0[\[{\"]|\0\w\0[^\0]"), _CONVERT.format("UTF-16", "BE")),
    (
        re.compile(rb"\s*\["),
        "is a JSON array, not JSON Lines: write its items a line each (jq -c '.[]' FILE > OUT)",
    ),
    (
        re.compile(rb"\s*\{\s*(\"(\\.|[^\"\\])*\"\s*:\s*[\[{]?\s*)?\Z"),
        "is JSON written over several lines, not JSON Lines: write each value in one line "
        "(jq -c . FILE > OUT)",
    ),
    (re.compile(rb"\s*<(!doctype|html|\?xml)", re.IGNORECASE), "is HTML or XML, not JSON Lines"),
    (
        re.compile(rb"(?=.*[\w\x80-\xff])%b([,;\t]%b)+[\r\n]*\Z" % (_CELL, _CELL)),
        "is a table (CSV): " + _PANDAS.format("read_csv(FILE)"),
    ),
)
"""Kinds of text file by their first line."""

_RECORDS: tuple[tuple[frozenset[str], str, DatasetKind], ...] = (
    (frozenset({"messages"}), "chats (messages)", DatasetKind.MESSAGES),
    (
        frozenset({"conversations"}),
        "chats (conversations, as ShareGPT has them)",
        DatasetKind.MESSAGES,
    ),
    (
        frozenset({"instruction", "output"}),
        "instructions (as Alpaca has them)",
        DatasetKind.COMPLETION,
    ),
    (
        frozenset({"chosen", "rejected"}),
        "preference pairs (chosen, rejected)",
        DatasetKind.PREFERENCE,
    ),
    (
        frozenset({"preferred_output", "non_preferred_output"}),
        "preference pairs (preferred_output, non_preferred_output)",
        DatasetKind.PREFERENCE,
    ),
    (
        frozenset({"prompt", "completion", "label"}),
        "labelled completions (prompt, completion, label)",
        DatasetKind.FEEDBACK,
    ),
    (
        frozenset({"prompt", "completion"}),
        "pairs of prompt and completion",
        DatasetKind.COMPLETION,
    ),
    (frozenset({"question", "answer"}), "pairs of question and answer", DatasetKind.COMPLETION),
    (frozenset({"text"}), "plain texts (text)", DatasetKind.COMPLETION),
)
"""Keys of records in other data sets, a name for them, and the kind that they become."""

_IMPORT = "`tailrace datasets import FILE`"

_CONVERTED = re.compile(
    "is a Parquet|is a table|is a JSON array|is compressed with (gzip|Zstandard)|begins with a byte"
)
"""Kinds of file that the import of datasets reads."""

_LONGEST = 1024
"""Number of bytes of the first line that are examined."""


def foreign_kind(first_line: bytes) -> str | None:
    """Return the kind of a file that is not JSON Lines, with the way out; None if unrecognised.

    ``first_line`` is the file's content up to its first line feed, which may be included.
    """
    beginning = first_line[:_LONGEST]
    for magic, kind in _BEGINNINGS:
        if beginning.startswith(magic):
            return kind
    for pattern, kind in _TEXTS:
        if pattern.match(beginning):
            return kind
    return None


def foreign_records(record: object) -> str | None:
    """Return the name of a known kind of records that ``record`` is one of, or None."""
    entry = _known_records(record)
    return None if entry is None else entry[0]


def dataset_hint(kind: str) -> str:
    """Return the way out for a dataset whose file is of a kind that :func:`foreign_kind` named."""
    return f", or let {_IMPORT} convert it" if _CONVERTED.match(kind) else ""


def records_hint(record: object) -> str:
    """Return the way out for a dataset with records that :func:`foreign_records` named."""
    entry = _known_records(record)
    form = SCHEMAS[DatasetKind.MESSAGES if entry is None else entry[1]].FORM
    return f"{_IMPORT} converts them; the server takes canonical lines only, here {form}"


def _known_records(record: object) -> tuple[str, DatasetKind] | None:
    if not isinstance(record, dict):
        return None
    return next(((name, kind) for keys, name, kind in _RECORDS if keys <= record.keys()), None)
