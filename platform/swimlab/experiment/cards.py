"""GPUs by name: memory, speed and price. Data sheets and list prices, not measurements; needs no torch."""

from __future__ import annotations

import difflib
import itertools
from dataclasses import dataclass


@dataclass(frozen=True)
class Card:
    """`flops_per_s`: dense bf16 with fp32 sums, by NVIDIA's data sheet. `memory_gb`: 1e9 bytes, as torch sees them.
    `usd_per_hour`: about what a cloud asked on demand in 2025; prices differ by a factor of three."""

    name: str
    memory_gb: float
    flops_per_s: float
    usd_per_hour: float


CARDS = {
    card.name: card
    for card in (
        Card("B200", 191, 2250e12, 6.0),
        Card("H200", 150, 989e12, 4.0),
        Card("H100", 85, 989e12, 3.0),
        Card("A100-80GB", 85, 312e12, 1.8),
        Card("A100", 42, 312e12, 1.3),
        Card("L40S", 47, 362e12, 1.0),
        Card("A6000", 51, 155e12, 0.8),
        Card("RTX 4090", 25, 165e12, 0.5),
        Card("RTX 3090", 25, 71e12, 0.3),
        Card("A10", 24, 125e12, 0.8),
        Card("L4", 24, 121e12, 0.8),
    )
}
DEFAULT = "H100"


def named(name: str) -> Card:
    """The card of a name, in any case. Raises ValueError with the nearest for another."""
    by_lower = {card.lower(): card for card in CARDS}
    if name.lower() not in by_lower:
        near = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.0)[0]
        raise ValueError(f"no card {name!r} is known; the nearest is {by_lower[near]!r} of {', '.join(CARDS)}")
    return CARDS[by_lower[name.lower()]]


def of_device(name: str) -> Card | None:
    """The card of a GPU as its driver names it ("NVIDIA H100 80GB HBM3"), or of its own name; None for one that is not
    in the table."""
    words = _joined(name.lower().replace("-", " ").split())
    candidates = [card for card in CARDS.values() if set(card.name.lower().split("-")) <= words]
    return max(candidates, key=lambda card: len(card.name), default=None)


def _joined(words: list[str]) -> set[str]:
    """Single words and pairs of neighbours, since some names are two words."""
    return {*words, *(" ".join(pair) for pair in itertools.pairwise(words))}
