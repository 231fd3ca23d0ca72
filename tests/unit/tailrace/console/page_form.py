"""The fields of a page's form, as a browser without scripts sends them."""

from __future__ import annotations

from html.parser import HTMLParser


class _Forms(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self._form = ""
        self._area = ""
        self._select = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        name = values.get("name", "")
        if tag == "form":
            self._form = values.get("class", "")
        if self._form != "spec":
            return
        if tag == "input":
            self.fields[name] = values.get("value", "")
        elif tag == "textarea":
            self._area = name
            self.fields[name] = ""
        elif tag == "select":
            self._select = name
            self.fields[name] = ""
        elif tag == "option" and self._select and "selected" in values:
            self.fields[self._select] = values["value"]

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea":
            # A browser drops the line end after the tag, and sends CR LF for the others.
            text = self.fields[self._area].removeprefix("\n")
            self.fields[self._area] = text.replace("\n", "\r\n")
            self._area = ""
        elif tag == "select":
            self._select = ""
        elif tag == "form":
            self._form = ""

    def handle_data(self, data: str) -> None:
        if self._area:
            self.fields[self._area] += data


def spec_fields(page: str) -> dict[str, str]:
    """Fields of the form of a run spec, without its buttons."""
    forms = _Forms()
    forms.feed(page)
    return forms.fields
