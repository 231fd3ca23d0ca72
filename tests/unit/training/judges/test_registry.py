from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tailrace.formats.spec.judge_spec import JUDGES, NEEDS_OPTIONS, JudgeSpec
from training.errors import ConfigError
from training.judges import JudgeSetup, judge_names, make_judge

PLUGIN = """
class Loud:
    name, version, compares = "loud", "7", False

    def __init__(self, setup):
        self.word = setup.spec.parameters["word"]
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A package with judges, installed as pip would."""
    info = tmp_path / "loud-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: loud\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[tailrace.judges]\nloud = loud_judge:Loud\ngone = loud_judge:Gone\n"
        "contains = loud_judge:Loud\n"
    )
    (tmp_path / "loud_judge.py").write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("loud_judge", None)


def test_built_in_judges_have_the_names_and_versions_of_the_catalog() -> None:
    assert list(JUDGES) == judge_names()[: len(JUDGES)]
    for name in set(JUDGES) - NEEDS_OPTIONS:
        judge = make_judge(JudgeSetup(JudgeSpec(name)))
        assert (judge.name, judge.version) == (name, JUDGES[name])
    for name in NEEDS_OPTIONS:
        with pytest.raises(ConfigError, match=f"the judge {name} needs"):
            make_judge(JudgeSetup(JudgeSpec(name)))


@pytest.mark.usefixtures("plugin")
def test_other_packages_bring_judges_but_replace_none() -> None:
    judge = make_judge(JudgeSetup(JudgeSpec("loud", parameters={"word": "hey"})))
    assert (judge.name, judge.version) == ("loud", "7")
    assert type(make_judge(JudgeSetup(JudgeSpec("contains")))).__name__ == "ContainsJudge"
    with pytest.raises(ConfigError, match="the judge gone does not load"):
        make_judge(JudgeSetup(JudgeSpec("gone")))


def test_an_unknown_judge() -> None:
    with pytest.raises(ConfigError, match="no judge 'vibes'; known: answer_correctness, math"):
        make_judge(JudgeSetup(JudgeSpec("vibes")))
