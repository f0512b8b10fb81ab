"""What changed between two protocols of one ablation, in the words of its table."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

Content = Mapping[str, Any]


def changes(before: Content, after: Content) -> tuple[str, ...]:
    """One phrase a change ("seeds 3 → 8 (added 3, 4, 5, 6, 7)"); empty when nothing differs. Both are contents of
    `swimlab.experiment.protocol.content`; a part that only a newer version writes is named like any other."""
    named: dict[str, Callable[[Any, Any], list[str]]] = {
        "seeds": _seeds,
        "arms": _arms,
        "claims": _claims,
        "metrics": _metrics,
        "recipe": lambda old, new: [f"recipe: {text}" for text in _fields(old, new)],
        "data": _data,
        "replicate": lambda old, new: [f"replicates {old} → {new}"],
    }
    # A protocol without the field is of an older swimlab, whose seeds were orders of batches.
    before, after = ({"replicate": "order", **content} for content in (before, after))
    phrases = []
    for part in dict.fromkeys([*named, *sorted({*before, *after})]):
        old, new = before.get(part), after.get(part)
        if old == new:
            continue
        if part in named and old is not None and new is not None:
            phrases += named[part](old, new)
        else:
            phrases += _fields({part: old} if part in before else {}, {part: new} if part in after else {})
    return tuple(phrases)


def _seeds(old: list[int], new: list[int]) -> list[str]:
    moved = [
        f"{word} {', '.join(map(str, sorted(seeds)))}"
        for word, seeds in (("added", set(new) - set(old)), ("removed", set(old) - set(new)))
        if seeds
    ]
    return [f"seeds {len(old)} → {len(new)} ({'; '.join(moved)})"]


def _arms(old: Content, new: Content) -> list[str]:
    return _members("arm", old, new, lambda name: [f"arm {name}: {text}" for text in _fields(old[name], new[name])])


def _claims(old: Content, new: Content) -> list[str]:
    def moved(name: str) -> list[str]:
        before, after = old[name], new[name]
        phrases = []
        if before["margin"] != after["margin"]:
            phrases.append(f"claim {name}: margin {before['margin']:g} → {after['margin']:g}")
        if (source := after.get("margin_source")) != before.get("margin_source"):
            phrases.append(f"claim {name}: its margin is from {source or 'nowhere stated'}")
        if before["contrast"] != after["contrast"]:
            phrases.append(
                f"claim {name}: compares {', '.join(after['contrast'])} (before: {', '.join(before['contrast'])})"
            )
        return phrases

    return _members("claim", old, new, moved)


def _metrics(old: Content, new: Content) -> list[str]:
    def primary(metrics: Content) -> str:
        return next(name for name, metric in metrics.items() if metric["primary"])

    def moved(name: str) -> list[str]:
        phrases, before, after = [], old[name], new[name]
        if before["measured"] != after["measured"]:
            phrases.append(f"metric {name}: measured as {after['measured']}, before as {before['measured']}")
        if before["higher_is_better"] != after["higher_is_better"]:
            phrases.append(f"metric {name}: {'higher' if after['higher_is_better'] else 'lower'} is better now")
        return phrases

    phrases = _members("metric", old, new, moved)
    if primary(old) != primary(new):
        phrases.insert(0, f"primary metric {primary(old)} → {primary(new)}")
    return phrases


def _data(old: Content, new: Content) -> list[str]:
    moved = [arm for arm in new if arm in old and old[arm] != new[arm]]
    if not moved:
        return []  # an arm came or went, and that is said already
    return [f"the data changed (of {'every arm' if len(moved) == len(new) else ', '.join(moved)})"]


def _members(kind: str, old: Content, new: Content, moved: Callable[[str], list[str]]) -> list[str]:
    phrases = [f"{kind} {name} added" for name in new if name not in old]
    phrases += [f"{kind} {name} removed" for name in old if name not in new]
    return phrases + [text for name in new if name in old and old[name] != new[name] for text in moved(name)]


def _fields(old: Content, new: Content) -> list[str]:
    before, after = _flat(old), _flat(new)
    phrases = []
    for path in sorted({*before, *after}):
        if path not in before:
            phrases.append(f"{path} = {after[path]} added")
        elif path not in after:
            phrases.append(f"{path} = {before[path]} removed")
        elif before[path] != after[path]:
            phrases.append(f"{path} {before[path]} → {after[path]}")
    return phrases


def _flat(tree: Content, prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value if isinstance(value, str) else json.dumps(value)
    return flat
