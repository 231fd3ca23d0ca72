"""Plain data as YAML text that :mod:`tailrace.yaml_loader` reads back unchanged."""

from __future__ import annotations

from typing import Any

import yaml

from tailrace.yaml_loader import RESOLVERS

_INDENT = 2
_WIDTH = 100

_FOREIGN_BREAKS = frozenset("\r\x85\u2028\u2029")
"""Line ends of YAML 1.1 other than the line feed."""


def dump(plain: Any) -> str:
    """Return plain data as YAML text, keys in their order and texts of several lines as blocks."""
    return yaml.dump(
        plain,
        Dumper=_Dumper,
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=False,
        indent=_INDENT,
        width=_WIDTH,
    )


class _Dumper(yaml.SafeDumper):
    """Dumper that quotes a text if the loader would read it as another value."""

    # The base class has those of YAML 1.1, which takes 1e5 and 0o17 for text.
    yaml_implicit_resolvers = RESOLVERS

    def ignore_aliases(self, plain: Any) -> bool:
        """Return True: equal values are written out, as people write them."""
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text.strip() else None
    if _FOREIGN_BREAKS.intersection(text):
        # Readers fold them into spaces outside of double quotes.
        style = '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
