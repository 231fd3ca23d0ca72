"""The file of the OpenID provider: wrong keys are named, and claims become roles."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from services.domain.scope import Role
from services.oidc.configuration import MAX_BYTES, OidcConfiguration, load

BASE = {"issuer": "https://login.example", "audience": "tailrace", "client_id": "cli"}


def configured(*grants: dict[str, Any]) -> OidcConfiguration:
    return OidcConfiguration.model_validate({**BASE, "grants": list(grants)})


def written(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "oidc.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"issuer": "http://login.example"}, "must be an https URL"),
        ({"issuer": "http://127.0.0.1:1"}, "`allow_loopback_http`"),
        ({"issuer": ""}, "issuer"),
        ({"audiance": "x"}, "audiance: Extra inputs"),
        ({"algorithms": ["none"]}, "'none' must be one of RS256"),
        ({"algorithms": ["HS256"]}, "'HS256' must be one of RS256"),
        ({"algorithms": []}, "algorithms"),
        ({"send": "id_token"}, "needs audience to be the client_id"),
        ({"grants": [{"claim": "g", "value": "x", "project": "p", "role": "admin"}]}, "role"),
        ({"grants": [{"claim": "g", "value": "x", "role": "viewer"}]}, "must name the project"),
        ({"grants": [{"claim": "g", "value": "{project}"}]}, "must name the role"),
        ({"grants": [{"claim": "g", "project": "p", "role": "viewer"}]}, "claim and value"),
        ({"grants": [{"claim": "g", "value": "{project}-{project}:{role}"}]}, "only once"),
        ({"grants": [{"cluster_admin": True}]}, "cluster_admin needs a claim"),
        ({"grants": [{"project": "P!", "role": "viewer"}]}, "is not a project's id"),
        ({"allow_loopback_http": "yes"}, "allow_loopback_http"),
    ],
)
def test_wrong_keys_are_named(change: dict[str, Any], problem: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=problem) as error:
        load(written(tmp_path, {**BASE, **change}))
    assert str(error.value).startswith(f"TAILRACE_OIDC_FILE: {tmp_path}")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "is empty"),
        ("{", "is not JSON"),
        ("[]", "must hold a JSON object"),
        ("[" * 5000, "nested too deeply"),
        (json.dumps({"a": 1}).ljust(MAX_BYTES + 1), f"more than {MAX_BYTES} bytes"),
    ],
)
def test_a_file_of_another_kind_is_named(content: str, problem: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=problem):
        load(written(tmp_path, content))
    with pytest.raises(ValueError, match=r"cannot read .*No such file"):
        load(tmp_path / "none")


def test_the_example_of_the_page_is_valid(tmp_path: Path) -> None:
    page = Path("docs/security.md").read_text()
    example = page.partition("```json\n")[2].partition("```")[0]
    configuration = load(written(tmp_path, example))
    assert configuration.console_app == "tailrace-console"
    claims = {"groups": ["nlp"], "realm_access": {"roles": ["tailrace:vision:owner"]}}
    expected = {"nlp": Role.EDITOR, "vision": Role.OWNER, "playground": Role.VIEWER}
    assert configuration.rights(claims) == (expected, False)
    for key in OidcConfiguration.model_fields:
        assert f"| `{key}` |" in page


def test_claims_become_roles() -> None:
    configuration = configured(
        {"claim": "groups", "value": "ml", "project": "ml", "role": "viewer"},
        {"claim": ["realm_access", "roles"], "value": "ml-owner", "project": "ml", "role": "owner"},
        {"claim": "groups", "value": "t/{project}/{role}"},
        {"claim": "groups", "value": "lab-{project}", "role": "editor"},
        {"claim": "https://x.example/roles", "value": "root", "cluster_admin": True},
    )
    for claims, roles in (
        ({"groups": ["ml", "x"]}, {"ml": Role.VIEWER}),
        ({"groups": "ml"}, {"ml": Role.VIEWER}),
        ({"groups": ["mlx", "ML", 7, None, ["ml"]]}, {}),
        ({"groups": ["ml"], "realm_access": {"roles": ["ml-owner"]}}, {"ml": Role.OWNER}),
        ({"realm_access": "ml-owner", "realm_access.roles": "ml-owner"}, {}),
        ({"groups": ["t/a/editor", "t/a/viewer", "t/b/viewer"]},
         {"a": Role.EDITOR, "b": Role.VIEWER}),
        ({"groups": ["t/a/admin", "t//owner", "t/A/owner", "t/a/owner\n", "t/a/b/owner"]}, {}),
        ({"groups": ["lab-one"]}, {"one": Role.EDITOR}),
    ):  # fmt: skip
        assert configuration.rights(claims) == (roles, False)
    assert configuration.rights({"https://x.example/roles": ["root"]}) == ({}, True)


def test_an_address_counts_once_it_is_verified() -> None:
    configuration = configured(
        {"claim": "email", "value": "a@x.example", "project": "p", "role": "owner"}
    )
    for verified, roles in ((True, {"p": Role.OWNER}), (False, {}), ("true", {}), (None, {})):
        claims = {"email": "a@x.example", "email_verified": verified}
        assert configuration.rights(claims)[0] == roles


def test_all_users_of_the_issuer_may_have_a_role() -> None:
    assert configured({"project": "p", "role": "viewer"}).rights({})[0] == {"p": Role.VIEWER}
