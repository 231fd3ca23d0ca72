from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tailrace.formats.data import golden
from tailrace.formats.data.eval_item import EvalItem, dump_item


def write(path: Path, *prompts: str, **fields: Any) -> None:
    items = [
        {"id": f"q{number}", "prompt": prompt, "expected_answer": "4", **fields}
        for number, prompt in enumerate(prompts, start=1)
    ]
    path.write_text("".join(json.dumps(item) + "\n" for item in items))


def test_a_file_is_checked_without_a_server(tailrace: Any, tmp_path: Path) -> None:
    write(tmp_path / "e.jsonl", "2 + 2?", "3 + 1?", "2+2 ?", section="core")
    document = tailrace("evalsets", "validate", "e.jsonl", "--json").json()
    assert document == {
        "items": 3,
        "repeated": [["q1", "q3"]],
        "leaked": None,
        "sections": {"core": 3},
        "categories": {},
        "difficulties": {},
    }
    text = tailrace("evalsets", "validate", "e.jsonl").out
    assert "core (3)" in text
    assert "same prompt: q1, q3" in text


def test_leaked_questions_are_named(tailrace: Any, tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_bytes(golden.golden_v2_bytes())
    write(tmp_path / "e.jsonl", "Who was it?", golden.golden_v2()[0].prompt)
    call = ("evalsets", "validate", "e.jsonl", "--against", "d.jsonl")
    assert tailrace(*call, "--json").json()["leaked"] == ["q2"]
    assert "1 of 2 leaked into d.jsonl: q2" in tailrace(*call).out


def test_wrong_lines_are_named(tailrace: Any, tmp_path: Path) -> None:
    (tmp_path / "e.jsonl").write_bytes(b'{"id": "a"}\nnot json\n')
    result = tailrace("evalsets", "validate", "e.jsonl")
    assert result.code == 2
    assert "line 1: " in result.err
    assert "line 2: is not JSON" in result.err
    assert tailrace("evalsets", "validate", "none.jsonl").code == 2


def test_markers_are_written_into_the_items_that_have_none(served: Any, tmp_path: Path) -> None:
    write(tmp_path / "e.jsonl", "2 + 2?", "3 + 1?")
    with (tmp_path / "e.jsonl").open("a") as file:
        own = {"id": "own", "prompt": "p", "expected_answer": "4", "markers": ["Own:"]}
        file.write(json.dumps(own) + "\n")
    call = ("evalsets", "import", "e.jsonl", "--id", "marked", "--json")
    eval_set = served(*call, "--marker", "Antwort:", "--marker", "The sum is").json()
    items = [
        EvalItem(f"q{number}", prompt, "4", markers=["Antwort:", "The sum is"])
        for number, prompt in ((1, "2 + 2?"), (2, "3 + 1?"))
    ]
    lines = map(dump_item, [*items, EvalItem("own", "p", "4", markers=["Own:"])])
    assert int(eval_set["size_bytes"]) == len("".join(lines).encode())
    blank = served(*call, "--marker", " ")
    assert blank.code == 2
    assert "markers[0]: is blank" in blank.err


def test_import_and_list(served: Any, tmp_path: Path) -> None:
    write(tmp_path / "e.jsonl", "2 + 2?")
    eval_set = served("evalsets", "import", "e.jsonl", "--id", "mine", "--json").json()
    assert eval_set["name"] == "evalsets/mine@1"
    assert "evalsets/mine@1" in served("evalsets", "import", "e.jsonl", "--id", "mine").out
    assert served("evalsets", "import", "e.jsonl", "--json").json()["name"] == "evalsets/e@1"
    text = served("evalsets", "list").out
    assert "mine@1" in text
    assert "eval_v2" in text
    listed = served("evalsets", "list", "--json").json()
    assert [imported["eval_set_id"] for imported in listed["imported"]] == ["mine", "e"]
    assert "eval_v1" in listed["built_in"]


def test_the_former_option_is_refused_with_the_new_one(tailrace: Any) -> None:
    refusal = tailrace("evalsets", "import", "e.jsonl", "--name", "mine")
    assert refusal.code == 2
    assert "--name has a new name: give --id" in refusal.err
