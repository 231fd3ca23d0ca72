"""Sources of models: local folders and the Hugging Face hub."""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from pathlib import Path

from tailrace.formats.model.files import is_tokenizer_file
from tailrace.formats.model.folder import file_problem
from training.errors import ConfigError, ModelNotFoundError, ModelUnreachableError
from training.models.weights import INDEX, WEIGHTS, list_weights

HUB_TIMEOUT_SECONDS = 10
"""Seconds after which a request to the hub counts as unanswered."""

HUB_TOKEN_VARIABLE = "HF_TOKEN"
"""Environment variable of a hub token. Without it the hub is asked anonymously: a login of the
account that runs this process is not used, because the submitter of a run chooses the model."""

_TOKENIZER = [
    *("config.json", "tokenizer*", "*.jinja", "vocab.json", "merges.txt"),
    *("special_tokens_map.json", "added_tokens.json"),
]
_MODEL = [*_TOKENIZER, "generation_config.json", WEIGHTS, INDEX, "model-*.safetensors"]


def resolve_model(source: str) -> Path:
    """Return the local folder of a model named by path or hub id.

    An existing folder comes first; a hub id is looked up in the local hub cache, then fetched.

    Raises:
        ModelNotFoundError: There is no such model; the message names the ways out.
        ModelUnreachableError: The hub does not answer.
        ConfigError: Only a server can resolve the name.
    """
    return _resolve(source, _MODEL)


def resolve_tokenizer(source: str) -> Path:
    """Return the local folder of a model with its tokenizer and chat template, maybe no weights.

    Arguments and errors are those of :func:`resolve_model`.
    """
    return _resolve(source, _TOKENIZER)


def _resolve(source: str, patterns: list[str]) -> Path:
    folder = Path(source)
    if folder.is_dir():
        return folder
    if folder.is_file():
        problem = file_problem(folder.name) or "is a file"
        raise ModelNotFoundError(f"{source} is not a model folder: it {problem}")
    if source.startswith(("models/", "runs/")):
        raise ConfigError(
            f"{source!r} names a model of a server; here, download it first "
            "(`tailrace runs download RUN -o DIR`) and give its folder"
        )
    if folder.is_absolute() or source.startswith((".", "~")) or source.count("/") > 1:
        raise ModelNotFoundError(f"the folder {source!r} does not exist")
    try:
        return _cached(source, patterns) or _fetch(source, patterns)
    except ModelUnreachableError as error:
        if "/" not in source:
            raise
        # More often a mistyped folder than a model of the hub.
        raise ModelUnreachableError(
            f"the folder {source!r} does not exist; if it is meant as a model of the hub: {error}"
        ) from error


def _cached(hub_id: str, patterns: list[str]) -> Path | None:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        path = Path(snapshot_download(hub_id, allow_patterns=patterns, local_files_only=True))
    except LocalEntryNotFoundError:
        return None
    except HFValidationError as error:
        raise _unknown(hub_id) from error
    # After an interrupted download files are missing: the hub client continues it.
    if patterns is _TOKENIZER:
        is_complete = any(map(is_tokenizer_file, (file.name for file in path.iterdir())))
        return path if is_complete else None
    try:
        list_weights(path)
    except ModelNotFoundError:
        return None
    return path


def _fetch(hub_id: str, patterns: list[str]) -> Path:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import (
        HfHubHTTPError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
    )

    _require_reachable(hub_id)
    try:
        return Path(
            snapshot_download(
                hub_id,
                allow_patterns=patterns,
                etag_timeout=HUB_TIMEOUT_SECONDS,
                endpoint=constants.ENDPOINT,
                token=os.environ.get(HUB_TOKEN_VARIABLE) or False,
            )
        )
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise _unknown(hub_id) from error
    except (HfHubHTTPError, OfflineModeIsEnabled, OSError) as error:
        # LocalEntryNotFoundError, an OSError, is what remains of connection failures.
        raise _unreachable(hub_id, type(error).__name__) from error


def _require_reachable(hub_id: str) -> None:
    """Send one short request, because the hub client may retry for minutes before it gives up."""
    from huggingface_hub import constants

    if constants.is_offline_mode():
        raise _unreachable(hub_id, "offline mode is on")
    request = urllib.request.Request(constants.ENDPOINT, method="HEAD")  # noqa: S310 - no user input
    try:
        urllib.request.urlopen(request, timeout=HUB_TIMEOUT_SECONDS).close()  # noqa: S310
    except urllib.error.HTTPError:
        return  # The hub answered.
    except OSError as error:
        raise _unreachable(hub_id, str(getattr(error, "reason", error))) from error


def _unknown(hub_id: str) -> ModelNotFoundError:
    return ModelNotFoundError(
        f"{hub_id!r} is neither a folder here nor a public model on the hub (the hub is asked "
        f"without a token, unless {HUB_TOKEN_VARIABLE} is set for this process); models of the "
        "control plane are named `models/NAME`"
    )


def _unreachable(hub_id: str, cause: str) -> ModelUnreachableError:
    return ModelUnreachableError(
        f"the model {hub_id!r} is not cached on this machine and the model hub cannot be reached "
        f"({cause}). Ways out: use the offline twin training/configs/train_golden_v2_nano.yaml "
        "(`model: {preset: gpt2-nano}`); give a folder that holds the model (`--model DIR`); for a "
        "server, upload that folder with `tailrace models import DIR` and name the model that it "
        "prints (`models/…`); or run where the hub can be reached once, which fills the cache"
    )
