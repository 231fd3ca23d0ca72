"""A set of TLS files is taken as a whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from tailrace.tls_files import Pem, TlsFiles, TlsFilesError
from tests.servers.certificates import authority, pair, replace_pair, write_tls


def test_files_that_fit_are_loaded(tmp_path: Path) -> None:
    files = write_tls(tmp_path, "server")
    assert files.load() == Pem(authority().pem()[0], *pair("server"))
    assert TlsFiles().load() == Pem()


def test_the_version_changes_with_each_file(tmp_path: Path) -> None:
    files = write_tls(tmp_path, "server")
    versions = {files.version()}
    replace_pair(files, pair("other"))
    versions.add(files.version())
    files.key.unlink()  # type: ignore[union-attr]
    versions.add(files.version())
    assert len(versions) == 3


def break_key(files: TlsFiles, key: bytes, mode: int = 0o600) -> None:
    assert files.key is not None
    files.key.write_bytes(key)
    files.key.chmod(mode)


@pytest.mark.parametrize(
    ("part", "content", "problem"),
    [
        ("key", pair("other")[1], "is not the private key of"),
        ("key", pair("server")[1][:80], "must be a certificate and its private key in PEM form"),
        ("key", b"", "must be a certificate and its private key"),
        ("certificate", pair("server")[0][:300], "must be a certificate and its private key"),
        ("certificate", b"x" * (1 << 21), "is not a PEM file"),
        ("ca", b"-----BEGIN CERTIFICATE-----\n", "must hold certificates of authorities"),
        ("ca", b"", "must hold certificates of authorities"),
    ],
    # Keys are made anew in each process, so they cannot be in names.
    ids=["foreign", "half-key", "no-key", "half-certificate", "not-pem", "half-authority", "none"],
)
def test_half_written_and_foreign_files_are_refused(
    part: str, content: bytes, problem: str, tmp_path: Path
) -> None:
    files = write_tls(tmp_path, "server")
    getattr(files, part).write_bytes(content)
    with pytest.raises(TlsFilesError, match=problem):
        files.load()


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    files = write_tls(tmp_path, "server")
    break_key(files, pair("server")[1], 0o644)
    with pytest.raises(TlsFilesError, match=f"the private key .*chmod 600 {files.key}"):
        files.load()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    files = TlsFiles(tmp_path / "none.crt")
    with pytest.raises(TlsFilesError, match=r"cannot read .*none.crt: No such file"):
        files.load()


def test_a_passphrase_is_never_asked_for(tmp_path: Path) -> None:
    files = write_tls(tmp_path, "server")
    key = serialization.load_pem_private_key(pair("server")[1], None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    break_key(files, encrypted)
    with pytest.raises(TlsFilesError, match="must have no passphrase"):
        files.load()
