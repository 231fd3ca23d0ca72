from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
from cryptography import x509

from tailrace.tls_files import TlsFiles
from tests.unit.tailrace.cli.conftest import Tailrace


def certificate(file: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(file.read_bytes())


def test_an_authority_and_its_certificates_are_made(tailrace: Tailrace, tmp_path: Path) -> None:
    folder = tmp_path / "certs"
    made = tailrace(
        "certs", "init", "--host", "plane.example", "--host", "10.1.2.3", "-o", str(folder)
    )
    assert made.code == 0, made.err
    worker = tailrace("certs", "worker", "gpu-1", "--pool", "gpu", "-o", str(folder))
    assert worker.code == 0, worker.err
    assert "TAILRACE_WORKER_NAME=gpu-1" in worker.out
    assert "TAILRACE_POOLS=gpu" in worker.out
    for name in ("server", "gpu-1"):
        TlsFiles(folder / "ca.crt", folder / f"{name}.crt", folder / f"{name}.key").load()
    names = certificate(folder / "server.crt").extensions.get_extension_for_class(
        x509.SubjectAlternativeName
    )
    assert names.value.get_values_for_type(x509.DNSName) == ["plane.example", "localhost"]
    addresses = map(str, names.value.get_values_for_type(x509.IPAddress))
    assert list(addresses) == ["10.1.2.3", "127.0.0.1", "::1"]
    assert f"TAILRACE_TLS_CERT_FILE={folder / 'server.crt'}" in made.out.replace("\n", "")
    modes = {file.name: file.stat().st_mode & 0o777 for file in folder.iterdir()}
    assert {name for name, mode in modes.items() if mode == 0o600} == {
        "ca.key", "server.key", "gpu-1.key"
    }  # fmt: skip


def test_certificates_are_replaced_on_request_by_the_same_authority(
    tailrace: Tailrace, tmp_path: Path
) -> None:
    folder = tmp_path / "certs"
    arguments = ("certs", "init", "-o", str(folder))
    assert tailrace(*arguments).code == 0
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    again = tailrace(*arguments)
    assert again.code == 4
    assert "give --renew" in again.err
    assert tailrace(*arguments, "--renew", "--days", "30").code == 0
    after = {file.name: file.read_bytes() for file in folder.iterdir()}
    worker = ("certs", "worker", "one", "-o", str(folder))
    assert [tailrace(*worker, *renew).code for renew in ((), (), ("--renew",))] == [0, 4, 0]
    assert {name for name in after if after[name] == before[name]} == {"ca.crt", "ca.key"}


@pytest.mark.parametrize("host", ["plane:7443", "https://plane", "a b", ""])
def test_hosts_that_are_none_are_refused(host: str, tailrace: Tailrace, tmp_path: Path) -> None:
    refused = tailrace("certs", "init", "--host", host, "-o", str(tmp_path / "certs"))
    assert refused.code == 2
    assert "is not a host name or address" in refused.err


def test_a_worker_has_a_name_of_its_own_and_an_authority(
    tailrace: Tailrace, tmp_path: Path
) -> None:
    folder = ("-o", str(tmp_path / "certs"))
    assert "tailrace certs init" in tailrace("certs", "worker", "one", *folder).err
    for arguments in (("Gpu_1",), ("one", "--pool", "a b")):
        assert "must be 1-63" in tailrace("certs", "worker", *arguments, *folder).err
    assert "another file" in tailrace("certs", "worker", "server", *folder).err


def test_a_missing_package_is_named(
    tailrace: Tailrace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "cryptography" else real(name)
    )
    missing = tailrace("certs", "init", "-o", str(tmp_path / "certs"))
    assert missing.code == 2
    assert 'pip install "tailrace[tls]"' in missing.err
