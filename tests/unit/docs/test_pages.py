"""Pages are up to date, linked, and reachable from the index."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from docs.generate.links import anchors, github_slug, links, problem
from docs.generate.pages import PAGES
from docs.generate.repository import INDEX, ROOT, pages


@pytest.mark.parametrize("path", PAGES)
def test_a_generated_page_is_up_to_date(path: str) -> None:
    committed = (ROOT / path).read_text(encoding="utf-8")
    assert committed == PAGES[path](), f"{path} is stale: run `make docs` and commit"


def test_every_page_of_the_reference_is_generated() -> None:
    written = {str(page.relative_to(ROOT)) for page in (ROOT / "docs/reference").iterdir()}
    assert written == set(PAGES)


@pytest.mark.parametrize("page", [str(page.relative_to(ROOT)) for page in pages()])
def test_links_lead_somewhere(page: str) -> None:
    problems = [
        f"{link.target}: {reason}" for link in links(ROOT / page) if (reason := problem(link, ROOT))
    ]
    assert problems == []


def test_every_page_is_reachable_from_the_index() -> None:
    reached = {INDEX}
    queue = [INDEX]
    while queue:
        for link in links(queue.pop()):
            if link.path.suffix == ".md" and link.path not in reached:
                reached.add(link.path)
                queue.append(link.path)
    assert {page for page in pages() if page not in reached} == set()


def test_the_navigation_of_the_site_names_pages() -> None:
    class Loader(yaml.SafeLoader):
        """A loader that reads a Python name as text."""

    Loader.add_multi_constructor("tag:yaml.org,2002:python/name:", lambda _, name, __: name)
    config = yaml.load((ROOT / "mkdocs.yml").read_text(), Loader)  # noqa: S506
    queue, paths = list(config["nav"]), []
    while queue:
        entry = queue.pop()
        if isinstance(entry, str):
            paths.append(entry)
        else:
            queue += entry.values() if isinstance(entry, dict) else entry
    assert [path for path in paths if not (ROOT / path).is_file()] == []


def test_dead_links_are_seen(tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# A title, with `code`\n\n## Twice\n\n## Twice\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](other.md#a-title-with-code) [b](other.md#twice-1) [c](other.md#twice-2)\n"
        "[d](missing.md) `[e](in-code.md)` [f](https://example.com)\n"
        "```\n[g](in-fence.md)\n```\n[h](../outside.md) [i](#own)\n"
    )
    (tmp_path.parent / "outside.md").write_text("")
    assert {link.target: problem(link, tmp_path) for link in links(page)} == {
        "other.md#a-title-with-code": "",
        "other.md#twice-1": "",
        "other.md#twice-2": "has no such anchor",
        "missing.md": "does not exist",
        "../outside.md": "is outside of the repository",
        "#own": "has no such anchor",
    }


@pytest.mark.parametrize(
    ("heading", "slug"),
    [
        ("judges[].llm_rubric", "judgesllm_rubric"),
        ("Reasons of workers' calls", "reasons-of-workers-calls"),
        ("A – B", "a--b"),
    ],
)
def test_slugs_are_those_of_github(heading: str, slug: str) -> None:
    assert github_slug(heading) == slug


def test_headings_in_code_are_no_anchors(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# One\n\n```bash\n# two\n```\n")
    assert anchors(page) == {"one"}
