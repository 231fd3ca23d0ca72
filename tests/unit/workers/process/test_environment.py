"""The environment of stage processes: what they need, and no secret of the worker."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from workers.process.environment import credential_paths, inherited_environment

SECRETS = [
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AZURE_CLIENT_SECRET",
    "CUDA_PORTAL_TOKEN",
    "DATABASE_URL",
    "GITHUB_TOKEN",
    "GOOGLE_APPLICATION_CREDENTIALS",
    "HF_TOKEN",
    "HF_TOKEN_PATH",
    "HTTPS_PROXY",
    "HUGGING_FACE_HUB_TOKEN",
    "NVIDIA_API_KEY",
    "OPENAI_API_KEY",
    "SSH_AUTH_SOCK",
    "TAILRACE_BROKER_URL",
    "TAILRACE_DATABASE_URL",
    "TAILRACE_JUDGE_KEY_OPENAI",
    "TAILRACE_JUDGE_KEYS_FILE",
    "TAILRACE_WORKER_TOKEN_FILE",
    "WANDB_API_KEY",
    "XDG_CONFIG_HOME",
    "SOMETHING_NOBODY_KNOWS",
]
NEEDED = [
    "PATH",
    "LANG",
    "LC_ALL",
    "TZ",
    "LD_LIBRARY_PATH",
    "CUDA_CACHE_PATH",
    "HF_ENDPOINT",
    "HF_HUB_OFFLINE",
    "JAX_TRACEBACK_FILTERING",
    "LIBTPU_INIT_ARGS",
    "NVIDIA_VISIBLE_DEVICES",
    "PYTHONPATH",
    "SSL_CERT_FILE",
    "TAILRACE_FAULTS",
    "XLA_FLAGS",
]


def test_only_what_is_needed_is_passed_on(tmp_path: Path) -> None:
    source = {name: f"secret of {name}" for name in SECRETS} | dict.fromkeys(NEEDED, "needed")
    inherited = inherited_environment(tmp_path, environment=source)
    assert {name for name, value in inherited.items() if value == "needed"} == set(NEEDED)
    assert "secret" not in str(inherited)
    assert inherited["HOME"] == str(tmp_path)


def test_an_operator_may_name_more(tmp_path: Path) -> None:
    source = {"HF_TOKEN": "for gated models", "WANDB_API_KEY": "not this"}
    inherited = inherited_environment(tmp_path, ["HF_TOKEN", "NOT_SET"], source)
    assert inherited["HF_TOKEN"] == "for gated models"
    assert not {"WANDB_API_KEY", "NOT_SET"} & inherited.keys()


@pytest.mark.parametrize(
    ("source", "cache"),
    [
        ({"HOME": "/home/me"}, "/home/me/.cache/huggingface/hub"),
        ({"HOME": "/home/me", "XDG_CACHE_HOME": "/c"}, "/c/huggingface/hub"),
        ({"HOME": "/home/me", "HF_HOME": "/models"}, "/models/hub"),
        ({"HF_HOME": "/models", "HF_HUB_CACHE": "/hub"}, "/hub"),
    ],
)
def test_the_hubs_cache_is_found_without_the_folder_of_its_token(
    tmp_path: Path, source: dict[str, str], cache: str
) -> None:
    inherited = inherited_environment(tmp_path, environment=source)
    assert inherited["HF_HUB_CACHE"] == cache
    assert "HF_HOME" not in inherited


def test_credentials_of_the_host_are_known(tmp_path: Path) -> None:
    (tmp_path / ".aws").mkdir()
    (tmp_path / ".cache/huggingface").mkdir(parents=True)
    for name in (".netrc", ".cache/huggingface/token", "google.json", "real-token", ".bashrc"):
        (tmp_path / name).write_text("secret")
    (tmp_path / "worker-token").symlink_to("real-token")
    source = {
        "HOME": str(tmp_path),
        "GOOGLE_APPLICATION_CREDENTIALS": str(tmp_path / "google.json"),
        "KUBECONFIG": str(tmp_path / "missing"),
    }
    own = [tmp_path / "worker-token", tmp_path / "missing", None]
    names = [".aws", ".cache/huggingface/token", ".netrc", "google.json", "real-token"]

    def inside(*passed: str) -> list[str]:
        paths = credential_paths(own, passed, source)
        return [str(p.relative_to(tmp_path)) for p in paths if p.is_relative_to(tmp_path)]

    assert inside() == names
    assert inside("GOOGLE_APPLICATION_CREDENTIALS", "HOME", "HF_HOME") == ["real-token"]


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc elsewhere")
def test_a_stage_process_cannot_read_the_environment_of_a_worker_that_is_not_dumpable(
    tmp_path: Path,
) -> None:
    stage = """
        import os
        from pathlib import Path
        for name in ("environ", "mem"):
            try:
                Path(f"/proc/{os.getppid()}/{name}").open("rb").read(1)
            except OSError as error:
                print(type(error).__name__)
            else:
                print("readable")
    """
    worker = f"""
        import ctypes, os, sys
        from pathlib import Path
        from workers.process.stage_process import StageProcess
        assert ctypes.CDLL(None).prctl({_PR_SET_DUMPABLE}, 0, 0, 0, 0) == 0
        process = StageProcess(
            [sys.executable, "-c", {textwrap.dedent(stage)!r}],
            environment={{}}, cores=[min(os.sched_getaffinity(0))], folder=Path({str(tmp_path)!r}),
        )
        print(os.fdopen(process.output).read(), end="")
        process.finish()
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(worker)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PLANTED": "secret"},
    )
    assert done.stdout.split() == ["PermissionError", "PermissionError"], done.stderr


_PR_SET_DUMPABLE = 4
