"""Export of a model folder: whole or its adapter alone, in a chosen type, tensor by tensor."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from tailrace.formats.model.adapter import (
    ADAPTER_FOLDER,
    CONFIG_NAME,
    UNMERGED_FOLDER,
    WEIGHTS_NAME,
)
from tailrace.formats.model.export import ExportDtype
from tailrace.formats.model.files import is_tokenizer_file
from training.errors import ModelConfigError, ModelNotFoundError
from training.models.family import LazyParams, Model
from training.models.folder import CONFIG, GENERATION_CONFIG, open_model, read_config
from training.models.stored_weights import StoredWeights, stored_types
from training.models.tensor_blocks import FLOATS, read_tensor
from training.models.weight_writer import TensorSpec, WeightWriter, write_model
from training.models.weights import Place, read_file_header

DTYPES: Mapping[ExportDtype, np.dtype[Any]] = {
    ExportDtype.FLOAT32: np.dtype(np.float32),
    ExportDtype.BFLOAT16: np.dtype(ml_dtypes.bfloat16),
    ExportDtype.FLOAT16: np.dtype(np.float16),
}
"""Types that all weights are converted to."""


@dataclass(frozen=True)
class ExportedModel:
    """A model to export, its adapter merged when a weight is read."""

    model: Model
    weights: StoredWeights
    dtypes: Mapping[str, np.dtype[Any]]
    """Type of each parameter in the export."""

    @classmethod
    def open(cls, folder: Path, dtype: ExportDtype) -> ExportedModel:
        """Open a model folder; errors as :func:`training.models.folder.open_model`."""
        model, weights = open_model(folder)
        stored = stored_types(folder, model)
        dtypes = {name: DTYPES.get(dtype) or FLOATS[kind] for name, kind in stored.items()}
        return cls(model, weights, dtypes)

    def array(self, name: str) -> NDArray[np.float32]:
        """Return the values of a parameter, for which its type has room.

        Raises:
            ModelConfigError: A value is too large for the type, or the file is damaged.
        """
        values = self.weights.array(name)
        require_fit(name, values, self.dtypes[name])
        return values


def export_merged(folder: Path, output: Path, dtype: ExportDtype) -> None:
    """Write a model folder with the weights in a type; the other files are those of ``folder``.

    Raises:
        TrainingError: The folder is not a model, or a value is too large for the type.
        OSError: A file cannot be read or written.
    """
    exported = ExportedModel.open(folder, dtype)
    output.mkdir(parents=True, exist_ok=True)
    config = read_config(folder)
    if dtype is not ExportDtype.SOURCE:
        config.pop("torch_dtype", None)
        config["dtype"] = dtype.value
    text = json.dumps(config, indent=2, sort_keys=True) + "\n"
    (output / CONFIG).write_text(text, encoding="utf-8")
    for path in folder.iterdir():
        if path.name == GENERATION_CONFIG or (is_tokenizer_file(path.name) and path.name != CONFIG):
            shutil.copyfile(path, output / path.name)
    params = LazyParams(list(exported.model.shapes), exported.array)
    write_model(output, exported.model, params, exported.dtypes)


def export_adapter(folder: Path, output: Path, dtype: ExportDtype) -> None:
    """Write the adapter of a model folder in PEFT's layout; errors as :func:`export_merged`."""
    names = (UNMERGED_FOLDER, ADAPTER_FOLDER)
    source = next((folder / name for name in names if (folder / name).is_dir()), None)
    if source is None:
        raise ModelNotFoundError(
            f"{folder} has no adapter: neither was one imported with it, nor trained; export it "
            "with --form merged"
        )
    entries, start = read_file_header(source / WEIGHTS_NAME)
    specs = {
        name: TensorSpec(entry.tensor.shape, DTYPES.get(dtype) or FLOATS[entry.tensor.dtype])
        for name, entry in entries.items()
    }
    output.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source / CONFIG_NAME, output / CONFIG_NAME)
    writer = WeightWriter({output / WEIGHTS_NAME: specs})
    for name, entry in entries.items():
        values = read_tensor(Place(source / WEIGHTS_NAME, name, entry, start + entry.start))
        require_fit(name, values, specs[name].dtype)
        writer.write(name, values)
    writer.close()


def require_fit(name: str, values: NDArray[np.float32], dtype: np.dtype[Any]) -> None:
    """Raise :class:`ModelConfigError` for values that are too large for a type."""
    finfo: Any = ml_dtypes.finfo
    limit = float(finfo(dtype).max)
    largest = max(float(values.max(initial=0)), -float(values.min(initial=0)))
    if largest > limit:
        raise ModelConfigError(
            f"{name} has values up to {largest:.4g}, the largest of {dtype.name} is {limit:.4g}: "
            "export with --dtype bfloat16 or float32"
        )
