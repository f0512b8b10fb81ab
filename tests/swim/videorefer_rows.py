"""VideoRefer rows as small as they can be, for the tests of the rewriting."""

from typing import Any

MASK = {"size": [8, 8], "counts": [10, 5, 49]}
TRACK = {"3": {"segmentation": MASK}}


def row(*texts: str, **fields: Any) -> dict[str, Any]:
    """A row of these turns, with masks for each `<region>`."""
    said = [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate(texts)]
    regions = sum(text.count("<region>") for text in texts)
    return {"id": "r", "video": "a.mp4", "conversations": said, "annotation": [TRACK] * regions} | fields


def values(raw: dict[str, Any]) -> list[str]:
    """What is said, in order."""
    return [entry["value"] for entry in raw["conversations"]]
