"""Reading Hugging Face's ``config.json``: every wrong key is reported at once."""

from __future__ import annotations

from tailrace.formats.model import config
from training.errors import ModelConfigError


class ConfigReader(config.ConfigReader):
    """The reader of imports, with an error of this library."""

    def finish(self) -> None:
        """Raise :class:`training.errors.ModelConfigError` naming every problem, if any."""
        if self.problems:
            raise ModelConfigError("config.json: " + "; ".join(self.problems))
