"""Serve a model over OpenAI's HTTP API, without any other server.

Example: python training/serve.py --model models/smollm2-135m-instruct --port 8000
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

if not __package__:
    # Run as a file: the package is found from the repository's root, not from this folder.
    sys.path[0] = str(Path(__file__).resolve().parents[1])

from tailrace.private_file import exposure
from training.commands import positive, run_command
from training.errors import ConfigError
from training.serving.opening import add_model_flags, open_model, served_name

KEY_VARIABLE = "TAILRACE_API_KEY"
"""Environment variable of an API key."""

_KEY = re.compile(r"[!-~]{1,1000}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: that of `tailrace` for bad input is 2."""
    options = _parse(arguments)
    return 2 if (status := run_command(lambda: serve(options), log=sys.stderr)) == 1 else status


def serve(options: argparse.Namespace) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises:
        TrainingError: The input is unusable, or generation failed.
        OSError: A file cannot be read, or the port is taken.
    """
    keys = _keys(options.api_key_file)
    # Imported here: wrong flags are refused without the wait for the libraries.
    from training.serving.api.address import Address, bind

    address = Address(options.host, options.port, keys, options.allow_host)
    address.require_safe()
    bound = bind(address)
    evaluated = open_model(options)
    from training.serving.api.app import Limits
    from training.serving.api.server import serve as serve_model
    from training.serving.model import ServedModel

    model = ServedModel.open(
        served_name(options),
        evaluated,
        slots=options.slots,
        context=options.context,
        places=options.max_waiting,
    )
    limits = Limits(options.max_body_bytes, options.request_timeout, options.max_waiting)
    serve_model(model, address, bound, limits, options.grace)


def _keys(file: Path | None) -> list[str]:
    """Return the API keys of the environment and of a file, one a line.

    Raises:
        ConfigError: A key is not valid, or others may read the file.
        OSError: The file cannot be read.
    """
    # Taken away, so that no process that is started from here inherits it.
    key = os.environ.pop(KEY_VARIABLE, "")
    keys = [(KEY_VARIABLE, key)] if key else []
    if file is not None:
        problem = exposure(file, file.stat())
        if problem:
            raise ConfigError(problem)
        lines = enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        keys += [(f"{file}, line {n}", line.strip()) for n, line in lines if line.strip()]
        if not keys:
            raise ConfigError(f"{file} has no API key: write one a line")
    for place, value in keys:
        if not _KEY.fullmatch(value):
            raise ConfigError(
                f"{place}: an API key must be 1 to 1000 printable ASCII characters without blanks"
            )
    return [value for _, value in keys]


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="serve.py", description=__doc__, allow_abbrev=False)
    add_model_flags(parser)
    parser.add_argument("--host", default="127.0.0.1", help="address to serve on (127.0.0.1)")
    parser.add_argument("--port", type=int, default=8000, help="port; 0: any free one (8000)")
    parser.add_argument(
        "--api-key-file",
        type=Path,
        metavar="FILE",
        help=f"file of API keys, one a line, mode 0600; {KEY_VARIABLE} may hold one, too",
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="further host name under which clients may call the server; may be repeated",
    )
    parser.add_argument(
        "--slots", type=positive, default=8, help="answers that are generated together (8)"
    )
    parser.add_argument(
        "--max-waiting", type=positive, default=64, help="requests that may wait for a slot (64)"
    )
    parser.add_argument(
        "--request-timeout", type=float, default=600.0, help="seconds for one request (600)"
    )
    parser.add_argument(
        "--max-body-bytes", type=positive, default=8 << 20, help="largest request (8388608)"
    )
    parser.add_argument(
        "--grace", type=float, default=30.0, help="seconds for running answers at the end (30)"
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
