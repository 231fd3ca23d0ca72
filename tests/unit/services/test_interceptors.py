from __future__ import annotations

from google.rpc import error_details_pb2

from services.domain.errors import FailedPrecondition, InvalidInput, LeaseLost
from services.interceptors import MAX_VIOLATION_BYTES, _subject, status_of
from tailrace.formats.schema import Violation
from tailrace.v1 import run_pb2, stage_pb2


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
    assert bad.ByteSize() < MAX_VIOLATION_BYTES + 1000
    shown = len(bad.field_violations) - 1
    last = bad.field_violations[-1].description
    assert last == f"and {2000 - shown} more fields are wrong"


def test_the_log_names_the_run_and_never_a_secret() -> None:
    assert _subject(run_pb2.GetRunRequest(name="runs/a")) == {"run": "runs/a"}
    assert _subject(run_pb2.ListVerdictsRequest(parent="runs/a")) == {"run": "runs/a"}
    token = "0" * 32 + ".train.1.topsecret"
    bound = _subject(stage_pb2.FailStageRequest(lease_token=token))
    assert bound == {"run_uid": "0" * 32, "stage": "train"}
    assert _subject(stage_pb2.FailStageRequest(lease_token="nonsense")) == {}
    assert _subject(object()) == {}
