from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.oidc_provider import OidcProvider, oidc_provider


@pytest.fixture(scope="module")
def shared_provider() -> Iterator[OidcProvider]:
    with oidc_provider() as provider:
        yield provider


@pytest.fixture
def provider(shared_provider: OidcProvider) -> Iterator[OidcProvider]:
    yield shared_provider
    shared_provider.faults.clear()
    shared_provider.lifetime = 300
