"""Times of records and heartbeats: UTC, as ISO 8601."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any


def utc_time(text: str) -> datetime:
    """The moment. One without a zone, as other programs write it, is UTC, as all times of a store are: Python would
    take it for local time. Raises ValueError for text that is no time."""
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def age_s(value: Any) -> float | None:
    """Seconds since a time that somebody wrote into a file; None for a value that is no time."""
    try:
        return (datetime.now(UTC) - utc_time(value)).total_seconds()
    except (TypeError, ValueError):
        return None


def ago(text: str) -> str:
    """The time since a moment, in one unit: "3 h ago". Text that is no time is returned as it is: one record must not
    end a command that lists many."""
    if (seconds := age_s(text)) is None:
        return text
    for unit, length_s in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length_s:
            return f"{seconds / length_s:.0f} {unit} ago"
    return f"{max(seconds, 0):.0f} s ago"
