"""Access to a GGUF file, the format of llama.cpp.

Quantized tensors are converted to float32, without recovering their original values. Names of
metadata and tensors follow the specification,
https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from training.errors import ConfigError, ModelConfigError, ModelNotFoundError
from training.models.gguf.bounds import check_bounds

if TYPE_CHECKING:
    from gguf import GGUFReader


class GgufFile:
    """GGUF file: metadata as plain values, tensors by name."""

    def __init__(self, path: Path) -> None:
        """Open a file and read its metadata.

        Raises:
            ModelNotFoundError: The file does not exist.
            ModelConfigError: It is damaged or not a GGUF file.
            ConfigError: The package ``gguf`` is missing.
        """
        if not path.is_file():
            raise ModelNotFoundError(f"{path} does not exist")
        self.path = path
        reader, self.metadata = _open(path)
        """Metadata by key, such as ``llama.block_count``."""
        self._tensors = {tensor.name: tensor for tensor in reader.tensors}
        self.architecture = str(self.metadata.get("general.architecture"))
        """Value of ``general.architecture``."""

    @property
    def names(self) -> set[str]:
        """Names of the tensors."""
        return set(self._tensors)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor, slowest axis first."""
        return tuple(int(size) for size in reversed(self._tensors[name].shape))

    def tensor(self, name: str) -> NDArray[np.float32]:
        """Return a tensor as float32. Raises :class:`ModelConfigError` for an unknown type."""
        from gguf.quants import dequantize

        tensor = self._tensors[name]
        try:
            values = dequantize(tensor.data, tensor.tensor_type)
        except NotImplementedError as error:
            raise ModelConfigError(f"{self.path}: {name}: {error}") from error
        return np.asarray(values, np.float32).reshape(self.shape(name))

    def setting(self, name: str) -> Any:
        """Return metadata of the architecture, such as ``block_count``; None if absent."""
        return self.metadata.get(f"{self.architecture}.{name}")

    def special(self, name: str) -> int | None:
        """Return the id of a special token, such as ``eos``; None if absent.

        Raises :class:`ModelConfigError` for another value than a whole number.
        """
        key = f"tokenizer.ggml.{name}_token_id"
        value = self.metadata.get(key)
        if value is not None and type(value) is not int:
            raise ModelConfigError(f"{self.path}: {key} must be a whole number")
        return value


def _open(path: Path) -> tuple[GGUFReader, dict[str, Any]]:
    """Return the reader of a file and its metadata; errors as :class:`GgufFile`."""
    try:
        from gguf import GGUFReader
    except ModuleNotFoundError as error:
        raise ConfigError("reading GGUF files needs the package gguf: pip install gguf") from error
    try:
        check_bounds(path)
        reader = GGUFReader(path)
        return reader, {name: field.contents() for name, field in reader.fields.items()}
    except UnicodeDecodeError as error:
        raise ModelConfigError(
            f"{path} is damaged or not a GGUF file: a text in it is not UTF-8"
        ) from error
    except (ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
        raise ModelConfigError(f"{path} is damaged or not a GGUF file: {error}") from error
