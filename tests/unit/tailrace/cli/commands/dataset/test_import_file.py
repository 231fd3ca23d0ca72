from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tailrace.cli.show import progress
from tailrace.v1 import dataset_pb2

PAIR = {"prompt": "1+1?", "completion": "2"}
CHAT = {"conversations": [{"from": "human", "value": "hi"}, {"from": "gpt", "value": "yo"}]}


@pytest.fixture
def write(tmp_path: Path) -> Any:
    """Write rows as JSON Lines."""

    def file(name: str, *rows: Any) -> bytes:
        content = "".join(json.dumps(row) + "\n" for row in rows).encode()
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
        return content

    return file


def test_the_former_order_of_arguments_is_refused_with_the_new_one(served: Any) -> None:
    refusal = served("datasets", "import", "sums", "sums.jsonl")
    assert refusal.code == 2
    assert "tailrace datasets import sums.jsonl --id sums" in refusal.err


def test_canonical_lines_are_stored_byte_for_byte(served: Any, plane: Any, write: Any) -> None:
    content = write("sums.jsonl", PAIR, PAIR)
    result = served("datasets", "import", "sums.jsonl", "--json")
    assert result.json()["name"] == "datasets/sums@1"
    assert plane.datasets.content["sums"] == content
    assert plane.datasets.headers[0].kind == dataset_pb2.DATASET_KIND_COMPLETION


def test_the_detected_form_is_reported_apart_from_the_result(
    served: Any, plane: Any, write: Any
) -> None:
    write("chats.jsonl", CHAT)
    result = served("datasets", "import", "chats.jsonl")
    assert result.code == 0
    assert "chats.jsonl: JSON Lines\n" in result.err
    assert "messages: a conversation (columns conversations)" in result.err
    assert "datasets/chats@1" in result.out
    assert json.loads(plane.datasets.content["chats"])["messages"][1] == {
        "role": "assistant",
        "content": "yo",
    }
    assert plane.datasets.headers[0].kind == dataset_pb2.DATASET_KIND_MESSAGES


def test_columns_are_mapped_and_dropped(served: Any, plane: Any, write: Any) -> None:
    write("t.jsonl", {"q": "1+1?", "a": "2", "noise": "x"})
    options = ("--format", "completion", "--map", "prompt=q", "--map", "completion=a")
    assert served("datasets", "import", "t.jsonl", *options, "--map", "drop=noise").code == 0
    assert json.loads(plane.datasets.content["t"]) == PAIR


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (("--map", "prompt"), "--map 'prompt' is not of the form FIELD=COLUMN"),
        (("--map", "prompt=q", "--map", "prompt=r"), "--map prompt occurs twice"),
        (("--map", "promt=q"), "'promt' is not a field; did you mean 'prompt'?"),
        (("--map", "prompt=qq"), "'qq' is not a column"),
        ((), "the rows are not of a known form; their columns: q. Name the column of each field"),
        (("--split", "train"), "is a file, which has no splits: leave out --split"),
    ],
)
def test_wrong_options_are_refused(
    served: Any, plane: Any, write: Any, options: Any, problem: str
) -> None:
    write("t.jsonl", {"q": "1+1?"})
    refusal = served("datasets", "import", "t.jsonl", *options)
    assert refusal.code == 2
    assert problem in refusal.err
    assert plane.datasets.content == {}


def test_wrong_rows_are_listed_and_counted_and_nothing_is_sent(
    served: Any, plane: Any, write: Any
) -> None:
    write("t.jsonl", PAIR, *[{"prompt": "", "completion": 3}] * 150)
    refusal = served("datasets", "import", "t.jsonl")
    assert refusal.code == 2
    lines = refusal.err.splitlines()
    head = lines.index("error: 150 rows are wrong")
    assert lines[head + 1].startswith("  line 2: completion: must be text or")
    assert lines[head + 100].startswith("  line 101: ")
    assert lines[head + 101 :] == ["  and 50 more"]
    assert plane.datasets.content == {}


def test_a_split_of_a_folder(served: Any, plane: Any, write: Any) -> None:
    content = [write(f"set/train-0000{i}-of-00002.jsonl", {**PAIR, "id": str(i)}) for i in (0, 1)]
    write("set/test.jsonl", PAIR)
    refusal = served("datasets", "import", "set")
    assert refusal.code == 2
    assert "has the splits test (1 file), train (2 files): choose one" in refusal.err
    assert served("datasets", "import", "set", "--split", "train").code == 0
    stored = plane.datasets.content["set"]
    assert [json.loads(line) for line in stored.splitlines()] == [*map(json.loads, content)]


def test_text_survives_import_and_export(served: Any, plane: Any, tmp_path: Path) -> None:
    texts = [
        "cafe\u0301 café",
        "👩‍👩‍👧 😀",
        "שלום \u200fالعربية",
        "a\r\nb\n",
        "\ufeff mark\u2028end",
    ]
    table = "\ufeffprompt,completion\r\n" + "".join(f'p{n},"{t}"\r\n' for n, t in enumerate(texts))
    (tmp_path / "t.csv").write_bytes(table.encode())
    assert served("datasets", "import", "t.csv").code == 0
    assert served("datasets", "export", "t", "-o", "out.jsonl").code == 0
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_bytes().splitlines()]
    assert [row["completion"] for row in rows] == texts


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.tar", "a"])
def test_the_default_id_is_the_name_without_suffixes(
    served: Any, plane: Any, write: Any, name: str
) -> None:
    write(name, PAIR)
    assert served("datasets", "import", name).code == 0
    assert list(plane.datasets.content) == ["a"]


@pytest.mark.parametrize(
    ("file", "dataset_id"),
    [("My_Chats v2.jsonl", "my-chats-v2"), ("2024_qa.jsonl", "qa"), (f"{'a' * 70}.json", "a" * 63)],
)
def test_the_default_id_is_an_id_for_any_name(
    served: Any, plane: Any, write: Any, file: str, dataset_id: str
) -> None:
    write(file, PAIR)
    assert served("datasets", "import", file).code == 0
    assert list(plane.datasets.content) == [dataset_id]


def test_a_name_without_a_letter_needs_an_id(served: Any, plane: Any, write: Any) -> None:
    write("2024.jsonl", PAIR)
    refusal = served("datasets", "import", "2024.jsonl")
    assert (refusal.code, list(plane.datasets.content)) == (2, [])
    assert "'2024' gives no id, because it has no letter of a-z: give --id" in refusal.err


def test_help_names_sources_and_kinds(served: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    page = served("datasets", "import", "--help")
    assert page.code == 0
    assert "hf://datasets/ORG/NAME, also with @REVISION and /PATH" in page.out
    assert "auto, messages, completion, preference, feedback, prompts, trace" in page.out


def test_a_missing_file(served: Any) -> None:
    refusal = served("datasets", "import", "none.jsonl")
    assert refusal.code == 2
    assert "none.jsonl: No such file or directory" in refusal.err


def test_an_address_of_another_form(served: Any) -> None:
    refusal = served("datasets", "import", "hf://models/a/b")
    assert refusal.code == 2
    assert "must be of the form hf://datasets/ORG/NAME[@REVISION][/PATH]" in refusal.err


def test_violations_of_the_server_are_listed(served: Any, write: Any) -> None:
    write("d.jsonl", {**PAIR, "prompt": "bad"}, PAIR, {**PAIR, "prompt": "bad"})
    result = served("datasets", "import", "d.jsonl", "--id", "mine")
    assert result.code == 2
    assert "  line 1: bad\n  line 3: bad\n" in result.err


def test_bars_are_shown_on_a_terminal_only(
    served: Any, write: Any, monkeypatch: Any, capsys: Any
) -> None:
    write("d.jsonl", PAIR)
    assert "upload" not in served("datasets", "import", "d.jsonl").err
    monkeypatch.setattr(progress.output, "console", _terminal)
    assert "upload" in served("datasets", "import", "d.jsonl", "--json").err
    assert json.loads(served("datasets", "import", "d.jsonl", "--json").out)["version"] == 1


def _terminal(*, stderr: bool = False) -> Any:
    from rich.console import Console

    return Console(stderr=stderr, force_terminal=True, width=100)


def test_a_source_is_converted_to_a_file_without_a_server(
    served: Any, write: Any, tmp_path: Path
) -> None:
    write("chats.jsonl", CHAT)
    result = served("datasets", "convert", "chats.jsonl", "-o", "out/lines.jsonl", "--json")
    assert result.json() == {"file": "out/lines.jsonl", "kind": "messages", "lines": 1}
    (line,) = (tmp_path / "out/lines.jsonl").read_text().splitlines()
    assert json.loads(line)["messages"][0] == {"role": "user", "content": "hi"}
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["lines.jsonl"]


def test_canonical_lines_are_copied_and_wrong_rows_leave_the_target_alone(
    served: Any, write: Any, tmp_path: Path
) -> None:
    content = write("sums.jsonl", PAIR, PAIR)
    assert served("datasets", "convert", "sums.jsonl", "-o", "lines.jsonl").code == 0
    assert (tmp_path / "lines.jsonl").read_bytes() == content
    assert (tmp_path / "sums.jsonl").read_bytes() == content
    write("bad.jsonl", PAIR, {"prompt": "1+1?", "completion": 3})
    assert served("datasets", "convert", "bad.jsonl", "-o", "lines.jsonl").code == 2
    assert (tmp_path / "lines.jsonl").read_bytes() == content


def test_a_text_file_is_refused_with_the_way_out(served: Any, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("Once upon a time there was a model.\nIt learnt.\n")
    refusal = served("datasets", "import", "notes.txt")
    assert refusal.code == 2
    assert "is plain text" in refusal.err
    assert '{"text": …}' in refusal.err
