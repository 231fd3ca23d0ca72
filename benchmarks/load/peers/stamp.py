"""User code: writes the time into a file."""

import pathlib
import sys
import time

pathlib.Path(sys.argv[1]).write_text(repr(time.time()))
