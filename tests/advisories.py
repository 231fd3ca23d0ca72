"""``make audit``: known vulnerabilities of the pinned packages, looked up by pip-audit."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

PINS = Path("constraints.txt")

SECONDS = 600.0
"""Longest time for all packages: each one is a request."""

VULNERABLE, UNKNOWN = 1, 2
"""Exit statuses for packages with advisories, and for a look-up that failed."""


def main(program: str) -> int:
    """Look up all pins with the program pip-audit; return the exit status."""
    command = [
        program, "--requirement", str(PINS), "--no-deps", "--disable-pip",
        "--format", "json", "--progress-spinner", "off",
    ]  # fmt: skip
    try:
        process = subprocess.run(
            command, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return _report_unknown(f"no answer within {SECONDS:g} seconds")
    return report(process.stdout, process.stderr)


def report(output: str, errors: str) -> int:
    """Print what pip-audit has found, and return the exit status.

    pip-audit exits with 1 for a vulnerability and for most errors; only its output tells them
    apart.
    """
    try:
        packages: list[dict[str, Any]] = json.loads(output)["dependencies"]
    except (ValueError, KeyError):
        return _report_unknown(errors.strip().rpartition("\n")[2])
    vulnerable = [package for package in packages if package.get("vulns")]
    skipped = [package for package in packages if "skip_reason" in package]
    if len(skipped) == len(packages):
        # A mirror without advisories has none for any package, and pip-audit calls that clean.
        return _report_unknown(skipped[0]["skip_reason"] if skipped else errors.strip())
    for package in vulnerable:
        for advisory in package["vulns"]:
            fixes = ", ".join(advisory["fix_versions"]) or "none yet"
            name = f"{package['name']} {package['version']}"
            print(f"{name}: {advisory['id']}, fixed in: {fixes}")
    for package in skipped:
        print(f"{package['name']}: not looked up: {package['skip_reason']}")
    print(f"{len(packages) - len(skipped)} packages looked up, {len(vulnerable)} vulnerable")
    if vulnerable:
        return VULNERABLE
    return UNKNOWN if skipped else 0


def _report_unknown(problem: str) -> int:
    print(
        "make audit: the packages were not looked up: the advisory database cannot be reached, or "
        f"{PINS} cannot be read. Try again with access to it. pip-audit says: "
        f"{problem or 'nothing'}",
        file=sys.stderr,
    )
    return UNKNOWN


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
