from __future__ import annotations

import re
from typing import Any

import httpx2
import pytest

import tailrace
from tailrace.access import PLAINTEXT
from tailrace.console.new_run.presets import presets
from tailrace.formats.schema import parse
from tailrace.formats.spec.run_spec import RunSpec
from tailrace.formats.spec.schema_keys import schema_keys
from tailrace.protomap import spec_from_proto
from tailrace.spec_file import parse_yaml
from tests.unit.tailrace.console.conftest import Visitor, visit
from tests.unit.tailrace.console.page_form import spec_fields

PATH = "/runs/new"
NANO = f"{PATH}?preset=golden_v2_nano"


@pytest.fixture(autouse=True)
def golden(client: tailrace.Client) -> None:
    client.seed_dataset("golden-v2")


async def press(visitor: Visitor, page: httpx2.Response, button: str, **changes: str) -> Any:
    """Press a button of the page, after changes of fields."""
    fields = spec_fields(page.text) | changes
    fields.pop("form_token")
    return await visitor.post(PATH, **fields, action=button)


def problems(page: httpx2.Response) -> dict[str, str]:
    """The paths of the errors in the summary, with the id of the field that each leads to."""
    rows = re.findall(r'<li>(?:<a href="#([\w-]+)">)?<code>([^<]+)</code>(?:</a>)? ', page.text)
    return {path: target for target, path in rows}


async def test_an_example_is_checked_and_created(visitor: Visitor, client: tailrace.Client) -> None:
    page = await visitor.get(NANO)
    checked = await press(visitor, page, "check", **{"execution.train.pool": "no-worker-has-it"})
    assert "This run is valid" in checked.text
    assert "<code>train</code> would wait: " in checked.text
    checked = await press(visitor, checked, "check", **{"execution.train.pool": ""})
    answer = await press(visitor, checked, "create", run_id="from-the-form")
    assert (answer.status_code, answer.headers["location"]) == (303, "/runs/from-the-form")
    spec = spec_from_proto(client.get_run("from-the-form").spec)
    assert spec == parse(RunSpec, parse_yaml(presets()["golden_v2_nano"].text))


async def test_a_second_press_finds_the_run_of_the_first(visitor: Visitor) -> None:
    page = await visitor.get(NANO)
    first = await press(visitor, page, "create")
    second = await press(visitor, page, "create")
    assert first.headers["location"] == second.headers["location"]


@pytest.mark.parametrize("name", sorted(presets()))
async def test_an_example_goes_to_yaml_and_back_without_loss(visitor: Visitor, name: str) -> None:
    page = await visitor.get(f"{PATH}?preset={name}")
    yaml = await press(visitor, page, "yaml")
    shown = parse_yaml(spec_fields(yaml.text)["yaml"])
    assert parse(RunSpec, shown) == parse(RunSpec, parse_yaml(presets()[name].text))
    form = await press(visitor, yaml, "form")
    assert spec_fields(form.text) | {"form_token": ""} == spec_fields(page.text) | {
        "form_token": "",
        "request_id": spec_fields(form.text)["request_id"],
    }


async def test_every_wrong_field_has_its_error_at_once(visitor: Visitor) -> None:
    page = await visitor.get(NANO)
    changes = {
        "train.max_steps": "many",
        "train.learning_rate": "-1",
        "judges[0].name": "nobody",
        "labels": "a: [",
    }
    answer = await press(visitor, page, "check", **changes)
    assert answer.status_code == 400
    found = problems(answer)
    assert found.keys() >= {"train.max_steps", "train.learning_rate", "labels"}
    for path, target in found.items():
        assert f'id="{target}"' in answer.text, path
    # What was typed is still there.
    assert spec_fields(answer.text)["train.max_steps"] == "many"
    assert spec_fields(answer.text)["labels"] == "a: ["


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"dataset": "no-such-dataset"}, "dataset"),
        ({"model.source": "models/nothing", "model.preset": ""}, "model.source"),
        ({"judges[0].name": "a_judge_of_nobody"}, "judges[0].name"),
        ({"run_id": "NOT AN ID"}, "run_id"),
    ],
)
async def test_what_only_the_control_plane_knows_is_an_error_of_its_field(
    visitor: Visitor, changes: dict[str, str], path: str
) -> None:
    answer = await press(visitor, await visitor.get(NANO), "check", **changes)
    assert answer.status_code == 400
    assert problems(answer)[path]


async def test_blocks_are_added_and_removed_without_scripts(visitor: Visitor) -> None:
    page = await visitor.get(NANO)
    page = await press(visitor, page, "add:judges")
    page = await press(visitor, page, "add:judges[1].regex")
    fields = spec_fields(page.text)
    assert {"judges[1]", "judges[1].name", "judges[1].regex.pattern"} <= fields.keys()
    page = await press(visitor, page, "remove:judges[0]")
    assert "judges[0].regex.pattern" in spec_fields(page.text)
    assert (await press(visitor, page, "add:dataset")).status_code == 400


async def test_yaml_with_errors_stays_yaml_and_names_them(visitor: Visitor) -> None:
    page = await visitor.get(f"{PATH}?view=yaml")
    wrong = "modle: {}\ntrain: [1]\n"
    answer = await press(visitor, page, "form", yaml=wrong)
    assert problems(answer).keys() == {"modle", "train"}
    assert spec_fields(answer.text)["yaml"] == wrong.replace("\n", "\r\n")
    broken = await press(visitor, page, "check", yaml="a: [")
    assert "is not YAML" in broken.text


async def test_a_run_is_created_from_yaml(visitor: Visitor, client: tailrace.Client) -> None:
    page = await visitor.get(f"{PATH}?view=yaml")
    text = presets()["golden_v2_nano"].text
    answer = await press(visitor, page, "create", yaml=text, run_id="from-yaml")
    assert answer.status_code == 303
    assert client.get_run("from-yaml").spec.labels == {"example": "golden-v2-nano"}


async def test_a_run_again_with_changes(visitor: Visitor, client: tailrace.Client) -> None:
    spec = parse(RunSpec, parse_yaml(presets()["golden_v2_nano"].text))
    client.create_run(spec, run_id="earlier")
    page = await visitor.get(f"{PATH}?from=earlier")
    fields = spec_fields(page.text)
    assert fields["train.max_steps"] == "400"
    # A value that is the default is not set.
    assert fields["train.seed"] == ""
    answer = await press(visitor, page, "create", **{"train.max_steps": "70", "run_id": "later"})
    assert answer.status_code == 303, problems(answer)
    assert client.get_run("later").spec.train.max_steps == 70


async def test_texts_of_a_run_cannot_leave_their_field(
    visitor: Visitor, client: tailrace.Client
) -> None:
    template = "</textarea><script>alert(1)</script>{{ messages }}\u202e\r\n\n'\""
    spec = parse_yaml(presets()["golden_v2_nano"].text)
    spec["model"]["chat_template"] = template
    client.create_run(spec, run_id="hostile-template")
    page = await visitor.get(f"{PATH}?from=hostile-template")
    assert "<script>alert" not in page.text
    yaml = await press(visitor, page, "yaml")
    assert parse_yaml(spec_fields(yaml.text)["yaml"])["model"]["chat_template"] == template


@pytest.mark.parametrize("query", ["preset=nothing", "from=no-such-run"])
async def test_an_unknown_beginning_is_not_found(visitor: Visitor, query: str) -> None:
    assert (await visitor.get(f"{PATH}?{query}")).status_code == 404


async def test_a_draft_survives_the_absence_of_the_control_plane(visitor: Visitor) -> None:
    fields = spec_fields((await visitor.get(NANO)).text)
    async for other in visit("127.0.0.1:1", PLAINTEXT):
        fields["form_token"] = ""
        await other.get("/login")
        fields.pop("form_token")
        answer = await other.post(PATH, **fields, action="create")
        assert answer.status_code == 503
        assert spec_fields(answer.text)["train.max_steps"] == "400"


def test_no_key_of_the_spec_is_a_field_of_the_page() -> None:
    own = {"view", "request_id", "source", "run_id", "yaml", "action", "form_token"}
    assert own.isdisjoint(key.name for key in schema_keys(RunSpec))
