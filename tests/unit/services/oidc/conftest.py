from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from services.oidc.configuration import OidcConfiguration
from services.oidc.verifier import Verifier
from tests.servers.oidc_provider import AUDIENCE, CLIENT_ID, OidcProvider, oidc_provider

GRANTS = [
    {"claim": "groups", "value": "admins", "cluster_admin": True},
    {"claim": "groups", "value": "team", "project": "default", "role": "editor"},
    {"claim": "groups", "value": "tailrace:{project}:{role}"},
]


@pytest.fixture(scope="module")
def shared_provider() -> Iterator[OidcProvider]:
    with oidc_provider() as provider:
        yield provider


@pytest.fixture
def provider(shared_provider: OidcProvider) -> Iterator[OidcProvider]:
    shared_provider.claims = {"groups": ["team"]}
    yield shared_provider
    shared_provider.faults.clear()
    shared_provider.requests.clear()


@pytest.fixture
def configuration(provider: OidcProvider) -> OidcConfiguration:
    content = {
        "issuer": provider.issuer,
        "audience": AUDIENCE,
        "client_id": CLIENT_ID,
        "allow_loopback_http": True,
        "grants": GRANTS,
    }
    return OidcConfiguration.model_validate(content)


@pytest.fixture
async def verifier(configuration: OidcConfiguration) -> AsyncIterator[Verifier]:
    verifier = Verifier(configuration)
    yield verifier
    await verifier.close()
