"""The environment of a stage process: an allow-list of variables without the worker's secrets.

A stage reads content from outside (models, datasets, templates). Cloud keys, the hub's token, the
broker's URL and all settings of the worker stay in the worker's environment.
"""

from __future__ import annotations

import os
import site
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from tailrace.formats import faults

SETTINGS_PREFIX = "TAILRACE_"
"""Prefix of the worker's settings, which stage processes do not get."""

_NAMES = """
    PATH LANG LANGUAGE TZ TMPDIR USER LOGNAME VIRTUAL_ENV CONDA_PREFIX
    PYTHONPATH PYTHONHOME PYTHONUSERBASE PYTHONNOUSERSITE PYTHONDONTWRITEBYTECODE
    PYTHONPYCACHEPREFIX PYTHONHASHSEED PYTHONUTF8 PYTHONIOENCODING PYTHONFAULTHANDLER PYTHONMALLOC
    PYTHONWARNINGS
    LD_LIBRARY_PATH LD_PRELOAD GLIBC_TUNABLES
    SSL_CERT_FILE SSL_CERT_DIR REQUESTS_CA_BUNDLE CURL_CA_BUNDLE
    HF_HUB_OFFLINE HF_ENDPOINT HF_HUB_DISABLE_TELEMETRY HF_HUB_DISABLE_XET HF_HUB_ETAG_TIMEOUT
    HF_HUB_DOWNLOAD_TIMEOUT TRANSFORMERS_OFFLINE TRANSFORMERS_VERBOSITY TOKENIZERS_PARALLELISM
    TF_CPP_MIN_LOG_LEVEL TF_GPU_ALLOCATOR TF_FORCE_GPU_ALLOW_GROWTH
    NVIDIA_VISIBLE_DEVICES NVIDIA_DRIVER_CAPABILITIES NVIDIA_TF32_OVERRIDE NPROC
"""
"""Names of variables that are passed on."""

_FAMILIES = """
    LC_ XLA_ JAX_ JAXLIB_ PJRT_ CUDA_ CUDNN_ CUBLAS_ NCCL_ TPU_ LIBTPU_ ROCM_ ROCR_ HIP_ HSA_
    OMP_ OPENBLAS_ MKL_ KMP_ GOMP_ RAYON_ MALLOC_
"""
"""Prefixes of variables of compilers, accelerators, BLAS and the C library."""

_SECRET_WORDS = "KEY APIKEY TOKEN SECRET PASSWORD PASSWD PASS CREDENTIAL CREDENTIALS AUTH"
"""Words in a variable's name that exclude it although its prefix is listed."""

_CREDENTIALS = """
    .aws .azure .config/gcloud .config/gh .docker .git-credentials .gnupg .kube .netrc .npmrc
    .pgpass .pypirc .ssh
"""
"""Files and folders with credentials in a home folder."""

_CREDENTIAL_VARIABLES = """
    GOOGLE_APPLICATION_CREDENTIALS AWS_SHARED_CREDENTIALS_FILE AWS_WEB_IDENTITY_TOKEN_FILE
    AZURE_FEDERATED_TOKEN_FILE CREDENTIALS_DIRECTORY HF_TOKEN_PATH KUBECONFIG NETRC
"""
"""Variables that name a file or folder with credentials."""

_CREDENTIAL_FOLDERS = """
    /run/secrets/kubernetes.io /run/secrets/eks.amazonaws.com /run/credentials
    /var/run/secrets/kubernetes.io /var/run/secrets/eks.amazonaws.com
"""
"""Folders in which clusters and systemd store credentials of services."""


def inherited_environment(
    home: Path, also: Iterable[str] = (), environment: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the variables of this process that a stage process gets.

    Args:
        home: The stage's home folder, in place of the worker's, which holds credentials.
        also: Additional names, which the worker's operator listed.
        environment: Variables to choose from (default: those of this process).
    """
    source = os.environ if environment is None else environment
    listed = {*also, faults.VARIABLE}
    inherited = {
        name: value for name, value in source.items() if name in listed or _is_allowed(name)
    }
    # The hub's cache without its parent folder, which also holds the operator's token.
    defaults = {"HOME": str(home), "HF_HUB_CACHE": str(_hub_cache(source))}
    if site.ENABLE_USER_SITE:
        # Packages of `pip install --user` are found by the real home folder.
        defaults["PYTHONUSERBASE"] = site.getuserbase()
    return defaults | inherited


def credential_paths(
    own: Iterable[Path | None],
    passed: Collection[str] = (),
    environment: Mapping[str, str] | None = None,
) -> tuple[Path, ...]:
    """Return the files and folders with credentials that exist on this host.

    Args:
        own: Paths of the worker; ``None`` for one that it does not have.
        passed: Variables that stages get on purpose; their paths are left out.
        environment: Variables that name paths (default: those of this process).
    """
    source = os.environ if environment is None else environment
    home, hub = Path(source.get("HOME") or "~").expanduser(), _hub_home(source)
    places = [
        *([] if "HOME" in passed else [home / name for name in _CREDENTIALS.split()]),
        *([] if "HF_HOME" in passed else [hub / "token", hub / "stored_tokens"]),
        *(
            Path(source[name])
            for name in _CREDENTIAL_VARIABLES.split()
            if source.get(name) and name not in passed
        ),
        *map(Path, _CREDENTIAL_FOLDERS.split()),
        *(path for path in own if path is not None),
    ]
    # Links are resolved: a mount covers a file, not its name.
    return tuple(sorted({path.resolve() for path in places if path.exists()}))


def _is_allowed(name: str) -> bool:
    if name in _NAMES.split():
        return True
    secret = not set(_SECRET_WORDS.split()).isdisjoint(name.upper().split("_"))
    return name.startswith(tuple(_FAMILIES.split())) and not secret


def _hub_cache(source: Mapping[str, str]) -> Path:
    """Return huggingface_hub's folder of cached models, by the rules of huggingface_hub."""
    cache = source.get("HF_HUB_CACHE") or source.get("HUGGINGFACE_HUB_CACHE")
    if cache:
        return Path(cache).expanduser().absolute()
    return _hub_home(source) / "hub"


def _hub_home(source: Mapping[str, str]) -> Path:
    root = source.get("XDG_CACHE_HOME") or Path(source.get("HOME") or "~", ".cache")
    return Path(source.get("HF_HOME") or Path(root, "huggingface")).expanduser().absolute()
