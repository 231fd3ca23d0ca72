from __future__ import annotations

import base64
import json
import subprocess
import sys
from urllib.parse import quote

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from services.domain.errors import DomainError, FailedPrecondition, InvalidInput, LeaseLost
from services.error_status import MAX_STATUS_BYTES, status_of
from services.interceptors import _subject
from tailrace.formats.schema import Violation
from tailrace.v1 import dataset_pb2, run_pb2, stage_pb2
from tests.unit.services.api_client import ApiClient, failing


def test_a_status_carries_reason_domain_and_metadata() -> None:
    status = status_of(FailedPrecondition("BLOB_MISSING", "not there", blob="abc"))
    info = error_details_pb2.ErrorInfo()
    (detail,) = status.details
    assert detail.Unpack(info)
    assert (status.code, status.message) == (9, "not there")
    assert (info.reason, info.domain) == ("BLOB_MISSING", "tailrace")
    assert dict(info.metadata) == {"blob": "abc"}
    assert status_of(LeaseLost()).details[0].value


def test_bad_input_names_every_field_as_far_as_trailers_go() -> None:
    few = status_of(InvalidInput([Violation("a.b", "is wrong"), Violation("c", "too")]))
    bad = error_details_pb2.BadRequest()
    assert few.details[1].Unpack(bad)
    assert [v.field for v in bad.field_violations] == ["a.b", "c"]
    many = status_of(InvalidInput(Violation(f"f{i}", "x" * 900) for i in range(2000)))
    assert many.details[1].Unpack(bad)
    assert many.ByteSize() <= MAX_STATUS_BYTES
    shown_count = len(bad.field_violations) - 1
    last = bad.field_violations[-1].description
    assert last == f"and {2000 - shown_count} more fields are wrong"


def test_the_log_names_the_run_and_never_a_secret() -> None:
    assert _subject(run_pb2.GetRunRequest(name="runs/a")) == {"run": "runs/a"}
    assert _subject(run_pb2.ListVerdictsRequest(parent="runs/a")) == {"run": "runs/a"}
    token = "0" * 32 + ".train.1.topsecret"
    bound = _subject(stage_pb2.FailStageRequest(lease_token=token))
    assert bound == {"run_uid": "0" * 32, "stage": "train"}
    assert _subject(stage_pb2.FailStageRequest(lease_token="nonsense")) == {}
    assert _subject(object()) == {}


PRINTABLE = "".join(map(chr, range(ord(" "), ord("~") + 1))).replace("%", "")


def trailer_bytes(error: DomainError) -> int:
    """Return the size that gRPC limits: names, values and 32 bytes per pair (RFC 9113, 6.5.2)."""
    status = rpc_status.to_status(status_of(error))
    assert status.details is not None
    # What is outside of printable ASCII is percent-encoded (gRPC over HTTP/2).
    entries = {"grpc-status": "13", "grpc-message": quote(status.details, safe=PRINTABLE)}
    for name, value in status.trailing_metadata:
        entries[name] = base64.b64encode(value).decode() if name.endswith("-bin") else value
    return sum(len(name) + len(value) + 32 for name, value in entries.items())


@pytest.mark.parametrize("char", ["x", "é", "語", "😀", "%", "\n", "\ud800"])
@pytest.mark.parametrize("length", [1, 100, 499, 1500, 5000, 100_000])
def test_no_error_is_too_large_for_its_trailers(char: str, length: int) -> None:
    text = char * length
    for error in (
        FailedPrecondition("BLOB_MISSING", text, blob=text, **{text: text}),
        InvalidInput.field(text, text),
        InvalidInput(Violation(f"{text}{i}", text) for i in range(200)),
    ):
        assert trailer_bytes(error) < 8192
    message = status_of(FailedPrecondition("R", text)).message
    assert message == text.encode("utf-8", "replace").decode() or message.endswith("…")
    if length <= 100:
        assert not message.endswith("…")


async def test_half_a_surrogate_pair_in_an_import_is_told_by_line(api: ApiClient) -> None:
    header = dataset_pb2.ImportDatasetHeader(dataset_id="d")
    messages = [
        dataset_pb2.ImportDatasetRequest(header=header),
        dataset_pb2.ImportDatasetRequest(data=b'{"prompt": "p", "\\ud800": 1}\n{"\\udfff": 2}'),
    ]
    call = api.datasets.ImportDataset(iter(messages))
    _reason, fields = await failing(call, grpc.StatusCode.INVALID_ARGUMENT)
    assert {*fields} == {"line 1", "line 2"}
    assert "?" in fields["line 1"]


@pytest.mark.parametrize("text", ["a\nb", "\x1b[2J", "\x9b2J", "\u202eevil", "\r", "\u2028"])
def test_texts_of_users_forge_no_line_of_the_log(
    text: str, capfd: pytest.CaptureFixture[str]
) -> None:
    program = (
        "import logging, sys, structlog\n"
        "from services import logs\n"
        "logs.configure('info')\n"
        "text = sys.argv[1]\n"
        "structlog.get_logger('x').info('call', run=text, **{text: text})\n"
        "logging.getLogger('y').warning('seen %s', text)\n"
        "try:\n"
        "    raise ValueError(text)\n"
        "except ValueError:\n"
        "    structlog.get_logger('x').exception('unexpected')\n"
    )
    subprocess.run([sys.executable, "-c", program, text], check=True)
    lines = capfd.readouterr().out.split("\n")
    assert len(lines) == 4
    assert all(line.isascii() and line.isprintable() for line in lines)
    assert [json.loads(line)["event"][:4] for line in lines[:3]] == ["call", "seen", "unex"]
