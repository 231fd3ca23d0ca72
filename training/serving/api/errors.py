"""Errors of the HTTP API in OpenAI's schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tailrace.formats.schema import Violation, capped


class ApiError(Exception):
    """Refusal or failure of a request, with its HTTP status."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Describe the error.

        Args:
            status: HTTP status.
            message: Text for people: what is wrong, and the way out.
            code: Name for programs.
            param: The wrong field; the first one of several.
            headers: Further headers of the response.
        """
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        self.headers = dict(headers or {})

    @property
    def body(self) -> dict[str, Any]:
        """The response's document."""
        fields = {"type": self._type, "param": self.param, "code": self.code}
        return {"error": {"message": str(self), **fields}}

    @property
    def _type(self) -> str:
        if self.status == 429:
            return "rate_limit_error"
        return "server_error" if self.status >= 500 else "invalid_request_error"


def wrong_fields(violations: Sequence[Violation]) -> ApiError:
    """Return the error that names every wrong field."""
    message = "; ".join(f"{v.field}: {v.description}" for v in capped(list(violations)))
    return ApiError(400, message, param=violations[0].field, code="invalid_value")
