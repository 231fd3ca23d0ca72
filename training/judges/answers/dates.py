"""Dates as people write them, if they can mean only one day."""

from __future__ import annotations

import calendar
import datetime
import re
from dataclasses import dataclass

_MONTHS = {name.casefold(): i for i, name in enumerate(calendar.month_name) if name} | {
    name.casefold(): i for i, name in enumerate(calendar.month_abbr) if name
}
_MONTHS["sept"] = 9
_DAYS = {name.casefold(): i for i, name in enumerate(calendar.day_name)} | {
    name.casefold(): i for i, name in enumerate(calendar.day_abbr)
}
_MONTH = rf"(?P<month>{'|'.join(sorted(_MONTHS, key=len, reverse=True))})\.?"
_DAY = r"(?:the )?(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_YEAR = r"(?P<year>\d{4})"
_WEEKDAY = re.compile(rf"(?:on )?({'|'.join(sorted(_DAYS, key=len, reverse=True))})\.?,? +(?=\S)")
_FORMS = tuple(
    re.compile(form)
    for form in (
        rf"{_YEAR}[-/.](?P<month>\d{{1,2}})[-/.](?P<day>\d{{1,2}})",
        r"(?P<day>\d{1,2})\. ?(?P<month>\d{1,2})\. ?(?P<year>\d{4})",
        rf"{_DAY}(?: of)? ?[- ]?{_MONTH}(?:,? ?[- ]?{_YEAR})?",
        rf"{_MONTH} ?{_DAY}(?:,? {_YEAR})?",
        rf"{_YEAR} {_MONTH} {_DAY}",
    )
)
_EITHER = re.compile(rf"(?P<one>\d{{1,2}})[-/](?P<two>\d{{1,2}})[-/]{_YEAR}")
_LONGEST = 60


@dataclass(frozen=True)
class Day:
    """A day of one year, or of every year."""

    month: int
    day: int
    year: int | None


def read_day(text: str) -> Day | None:
    """Return the day that normalized text names; None for other text and impossible days.

    3/5/2024 may mean two days and gives None; 3/15/2024 means one. A weekday must be correct.
    """
    if len(text) > _LONGEST:
        return None
    weekday = _WEEKDAY.match(text)
    rest = text[weekday.end() :] if weekday else text
    for form in _FORMS:
        match = form.fullmatch(rest)
        if match:
            month = match["month"]
            number = int(month) if month.isdigit() else _MONTHS[month]
            return _real(number, int(match["day"]), match["year"], weekday)
    match = _EITHER.fullmatch(rest)
    if not match:
        return None
    one, two = int(match["one"]), int(match["two"])
    readings = {_real(one, two, match["year"], weekday), _real(two, one, match["year"], weekday)}
    days = [day for day in readings if day is not None]
    return days[0] if len(days) == 1 else None


def _real(month: int, day: int, year: str | None, weekday: re.Match[str] | None) -> Day | None:
    try:
        date = datetime.date(int(year) if year else 2000, month, day)
    except ValueError:
        return None
    if weekday and year and date.weekday() != _DAYS[weekday[1]]:
        return None
    return Day(month, day, int(year) if year else None)
