"""Reading the configuration file of a training."""

from __future__ import annotations

from pathlib import Path

import yaml

from tailrace.formats.run_spec import TrainConfig
from tailrace.formats.schema import SpecError, parse
from training.errors import ConfigError


def read_config(path: Path) -> TrainConfig:
    """The ``model`` and ``train`` blocks of a YAML file.

    Raises :class:`training.errors.ConfigError` naming every wrong key at once.
    """
    try:
        return parse(TrainConfig, yaml.safe_load(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise ConfigError(f"there is no configuration file {path}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    except SpecError as error:
        lines = "\n".join(f"  {v.field}: {v.description}" for v in error.violations)
        raise ConfigError(f"{path} has {len(error.violations)} wrong keys:\n{lines}") from error
