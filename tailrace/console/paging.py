"""Single pages of lists, for pages that link to the next one."""

from __future__ import annotations

from typing import Any, TypeVar

from tailrace.client.aio import AsyncClient
from tailrace.client.call import Paged, Unary

Item = TypeVar("Item")


async def fetch_page(
    client: AsyncClient, call: Paged[Any, Item], token: str = ""
) -> tuple[list[Item], str]:
    """Return the items of one page, and the token of the next one; empty for the last."""
    call.request.page_token = token
    response = await client._respond(Unary(call.method, call.request))
    return list(call.items(response)), response.next_page_token
