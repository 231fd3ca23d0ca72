"""Entry point of the ``tailrace`` command."""

from __future__ import annotations

import os
import sys

from tailrace.cli import exit_codes

_NEEDED = ("typer", "rich", "yaml")


def main() -> None:
    """Run the command line; ends the process with a code of :mod:`tailrace.cli.exit_codes`."""
    # gRPC's C core tells stderr about lost connections, which the SDK handles and reports.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        from tailrace.cli import app
        from tailrace.cli.show import output
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _NEEDED:
            raise
        sys.stderr.write(
            f"tailrace: {error.name} is not installed; the command line needs: "
            'pip install "tailrace[cli]"\n'
        )
        sys.exit(exit_codes.BAD_INPUT)
    output.replace_unencodable()
    app.run()


if __name__ == "__main__":
    main()
