from __future__ import annotations

from typing import Any

import grpc
import grpc.aio
import pytest

from tailrace import Client, errors
from tailrace.errors import TailraceError
from tailrace.formats.schema import Violation
from tailrace.retry import RetryPolicy
from tests.servers.http_front import answering


def test_every_status_code_has_its_class() -> None:
    codes = {cls.code for cls in TailraceError.__subclasses__()}
    assert codes == set(grpc.StatusCode) - {grpc.StatusCode.OK}
    for code in codes:
        assert f"``{errors._CLASSES[code].__name__}``" in (errors.__doc__ or "")
        assert code.name in (errors.__doc__ or "")


@pytest.mark.parametrize("code", [c for c in grpc.StatusCode if c is not grpc.StatusCode.OK])
def test_plain_status_is_decoded(plane: Any, code: grpc.StatusCode, connect: Any) -> None:
    plane.faults.codes["GetRun"] = [code]
    with (
        connect(plane.address, retry=RetryPolicy(attempts=1)) as client,
        pytest.raises(TailraceError) as raised,
    ):
        client.get_run("demo")
    assert type(raised.value) is errors._CLASSES[code]
    assert raised.value.code is code
    assert str(raised.value) == "GetRun fails by order of the test"
    assert isinstance(raised.value.__cause__, grpc.RpcError)


def test_reason_of_a_rich_status(plane: Any) -> None:
    with Client(plane.address) as client, pytest.raises(errors.FailedPrecondition) as raised:
        client.cancel_run("demo")
    assert raised.value.reason == "RUN_TERMINAL"


def test_a_status_rewritten_on_the_way_counts_as_it_arrives() -> None:
    class Call(grpc.RpcError):
        def code(self) -> grpc.StatusCode:
            return grpc.StatusCode.UNAVAILABLE

        def details(self) -> str:
            return "proxy says no"

        def trailing_metadata(self) -> Any:
            return (("grpc-status-details-bin", b"\x08\x05"),)

    error = errors.from_rpc(Call())
    assert isinstance(error, errors.Unavailable)
    assert str(error) == "proxy says no"


def test_violations_are_said_once() -> None:
    wrong = [Violation("a.b", "must be 1"), Violation("c", "is required")]
    assert str(errors.InvalidArgument("bad", violations=wrong)) == (
        "bad (a.b: must be 1; c: is required)"
    )
    error = errors.InvalidArgument("a.b: must be 1; c: is required", violations=wrong)
    assert str(error) == "a.b: must be 1; c: is required"


@pytest.mark.parametrize(
    ("code", "details", "repeat"),
    [
        (grpc.StatusCode.UNAVAILABLE, "", True),
        (grpc.StatusCode.INTERNAL, "Internal error from Core", True),
        (grpc.StatusCode.INTERNAL, "a fault of the server", False),
        (grpc.StatusCode.NOT_FOUND, "", False),
    ],
)
def test_what_may_be_repeated(code: grpc.StatusCode, details: str, repeat: bool) -> None:
    error = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details, "")
    assert errors.is_unavailable(error) is repeat


@pytest.mark.parametrize(
    ("details", "message"),
    [
        (
            "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:7996: Failed "
            "to connect to remote host: Connection refused",
            "no server answers at 127.0.0.1:7996: the connection was refused",
        ),
        (
            "failed to connect to all addresses; last error: UNKNOWN: ipv6:%5B::1%5D:7996: Failed "
            "to connect to remote host: Timeout occurred",
            "no server answers at [::1]:7996",
        ),
        (
            "errors resolving nowhere:1: [field:hostname lookup error:address lookup failed for "
            "nowhere:1: Domain name not found]",
            "no server answers at nowhere:1: there is no such host",
        ),
        ("Socket closed", "the connection to the control plane broke"),
        ("draining", "draining"),
    ],
)
def test_what_grpc_says_of_connections_is_put_into_words(details: str, message: str) -> None:
    code = grpc.StatusCode.UNAVAILABLE
    error = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details, "")
    assert str(errors.from_rpc(error)) == message


@pytest.mark.parametrize(
    ("status", "cls", "way_out"),
    [
        (301, errors.Unavailable, "use that one"),
        (400, errors.Unavailable, "TLS"),
        (401, errors.Unauthenticated, "credentials"),
        (403, errors.PermissionDenied, "refuses this client"),
        (404, errors.Unavailable, "no control plane"),
        (413, errors.ResourceExhausted, "client_max_body_size"),
        (418, errors.Unknown, "log"),
        (429, errors.Unavailable, "limits"),
        (502, errors.Unavailable, "cannot reach the control plane"),
        (503, errors.Unavailable, "cannot reach the control plane"),
        (504, errors.Unavailable, "grpc_read_timeout"),
    ],
)
def test_what_a_proxy_answers_instead_of_grpc_is_named(
    connect: Any, status: int, cls: type[TailraceError], way_out: str
) -> None:
    with (
        answering(status) as address,
        connect(address, retry=RetryPolicy(attempts=1)) as client,
        pytest.raises(TailraceError, match=f"answered HTTP {status} ") as raised,
    ):
        client.get_run("demo")
    assert type(raised.value) is cls
    assert way_out in raised.value.message
    assert raised.value.reason == errors.HTTP_STATUS
    assert raised.value.metadata == {"http_status": str(status)}
