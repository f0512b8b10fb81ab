"""Counts over rows: of bounded size, and mergeable in any grouping and order.

Only integers are added, labels are kept or dropped by their own hash, and examples are the first of their kind, so that
the same rows give the same tally however they are split among workers. Only the set of videos grows, by 8 bytes per
distinct video.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swim.recipe import Frozen
from swimlab.base.printable import printable
from swimlab.data.rejected_rows import BrokenRow

MAX_LABELS = 20_000  # of one count; the nouns of VideoRefer-700K fit
MAX_LABEL_CHARS = 80
FIRST_EXAMPLES = 3
MAX_CONCERNS = 64  # reasons and cautions of which rows are kept to be drawn
CASES_OF_EACH = 4

# Lower edges of the bins; the last one is open.
EDGES: dict[str, tuple[int, ...]] = {
    "objects a row": (0, 1, 2, 3, 4, 6, 8, 16, 32),
    "masks an object": (1, 2, 3, 4, 5, 6, 8, 16, 32, 64),
    "frames annotated a row": (0, 1, 2, 3, 4, 5, 6, 8, 16, 32, 64),
    "turns a row": (1, 2, 3, 4, 6, 8, 16),
    "tags a row": (0, 1, 2, 3, 4, 6, 8, 16),
    "question characters": (0, 25, 50, 100, 200, 400, 800, 1600, 6400, 25_600),
    "answer characters": (0, 25, 50, 100, 200, 400, 800, 1600, 6400, 25_600),
    "text tokens a row": (0, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384),
    # Share of the picture, in millionths.
    "object area": (0, 100, 300, 1000, 3000, 10_000, 30_000, 100_000, 300_000),
    "frames a video": (0, 8, 16, 32, 64, 128, 256, 512, 1024, 4096, 16_384),
    "seconds a video": (0, 2, 5, 10, 20, 30, 60, 120, 300, 900, 3600),
    "tokens a clip": (0, 256, 512, 1024, 2048, 4096, 6144, 8192, 10_240, 12_288, 16_384),
}


class Pick(Frozen):
    """A row chosen by the hash of its key, and the part of its file that holds it."""

    place: int
    key: str
    row: int
    part: str


class Suspect(Frozen):
    """A row to be drawn. `concern` is the caution's label, or why the row is broken; of each concern those with the
    highest `severity` are kept, of equal ones those with the lowest hash. `frames` show it, `text` is what was
    measured."""

    concern: str
    severity: int
    place: int
    file: str
    row: int
    key: str
    part: str
    frames: tuple[int, ...] = ()
    text: str = ""
    broken: bool = False

    @property
    def rank(self) -> tuple[int, int, str, int]:
        """The worst row first; equal in any order of arrival."""
        return -self.severity, self.place, self.file, self.row


def place_of(text: str) -> int:
    """A hash of a text in [0, 2⁶⁴), the same on every machine."""
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def shown(text: str, most: int = MAX_LABEL_CHARS) -> str:
    """An untrusted text as one short printable line: control characters, direction marks and surrogates are escaped."""
    cut = text[: most + 1]
    return printable(cut[:most], keep="") + "…" * (len(cut) > most)


class Places:
    """A set of hashes in a sorted array; additions are buffered and sorted in batches."""

    def __init__(self, places: Iterable[int] = ()) -> None:
        self._sorted = np.unique(np.fromiter(places, dtype=np.uint64))
        self._waiting: list[NDArray[np.uint64]] = []
        self._new: set[int] = set()

    def add(self, place: int) -> None:
        """Adds one place."""
        self._new.add(place)

    def update(self, other: Places) -> None:
        """Adds the places of another set."""
        self._waiting.append(other.array())
        if sum(map(len, self._waiting)) > len(self._sorted):
            self.array()

    def array(self) -> NDArray[np.uint64]:
        """The places, ascending."""
        if self._new:
            self._waiting.append(np.fromiter(self._new, dtype=np.uint64))
            self._new = set()
        if self._waiting:
            self._sorted = np.unique(np.concatenate([self._sorted, *self._waiting]))
            self._waiting = []
        return self._sorted

    def __len__(self) -> int:
        return len(self.array())


class Tally:
    """Counts by subject and label, totals, the first examples by reason, the set of videos, a sample of rows,
    and the worst rows of each concern.

    `picks` is how many rows the sample holds.
    """

    def __init__(self, picks: int = 0) -> None:
        self.picks = picks
        self.counts: dict[str, Counter[str]] = defaultdict(Counter)
        self.totals: Counter[str] = Counter()
        self.examples: dict[str, list[BrokenRow]] = {}
        self.videos = Places()
        self.sample: list[Pick] = []
        self.suspects: dict[str, list[Suspect]] = {}

    def count(self, subject: str, label: str, n: int = 1) -> None:
        """Add to the count of a label. Labels are free text: they are shortened and escaped."""
        labels = self.counts[subject]
        labels[label if label in labels else shown(label)] += n

    def bin(self, subject: str, value: int) -> None:
        """Add a value to the histogram with the edges `EDGES[subject]`."""
        edges = EDGES[subject]
        self.counts[subject][str(edges[max(bisect_right(edges, value) - 1, 0)])] += 1

    def add(self, subject: str, n: int) -> None:
        """Add to a total. Integers only: sums of floats depend on their order."""
        self.totals[subject] += n

    def video(self, place: int) -> None:
        """Add a video, by the hash of its name; duplicates count once."""
        self.videos.add(place)

    def add_broken(self, reason: str, example: BrokenRow) -> None:
        """Add a broken row to its reason."""
        reason = shown(reason, 2 * MAX_LABEL_CHARS)
        self.counts["reason"][reason] += 1
        self._first(reason, [example])

    def pick(self, pick: Pick) -> None:
        """Offer a row to the sample, which keeps the rows with the lowest hashes."""
        if self.picks and (len(self.sample) < self.picks or pick.place < self.sample[-1].place):
            self._sampled([pick])

    def wants(self, concern: str, severity: int, place: int) -> bool:
        """Whether such a row may be one of the worst of its concern."""
        worst = self.suspects.get(concern, [])
        return len(worst) < CASES_OF_EACH or (-severity, place) <= worst[-1].rank[:2]

    def suspect(self, suspect: Suspect) -> None:
        """Offer a row to be drawn."""
        self._worst(suspect.concern, [suspect])

    def merge(self, other: Tally) -> None:
        """Add the tally of other rows."""
        for subject, labels in other.counts.items():
            counts = self.counts[subject]
            for label, n in labels.items():
                counts[label] += n
            if len(counts) > 2 * MAX_LABELS:
                self.counts[subject] = _lowest(counts)
        self.totals.update(other.totals)
        for reason, examples in other.examples.items():
            self._first(reason, examples)
        self.videos.update(other.videos)
        self.picks = max(self.picks, other.picks)
        self._sampled(other.sample)
        for concern, suspects in other.suspects.items():
            self._worst(concern, suspects)

    def most(self, subject: str, n: int) -> dict[str, int]:
        """The n commonest labels, ties in the order of the alphabet."""
        ranked = sorted(self.counts.get(subject, Counter()).items(), key=lambda item: (-item[1], item[0]))
        return dict(ranked[:n])

    def histogram(self, subject: str) -> dict[int, int]:
        """Lower edge → number of values, for every bin."""
        counts = self.counts.get(subject, Counter())
        return {edge: counts.get(str(edge), 0) for edge in EDGES[subject]}

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads; equal for equal rows. A count with too many labels is reduced to a sample."""
        counts = {
            subject: {k: n for k, n in sorted(_lowest(labels).items()) if n}
            for subject, labels in sorted(self.counts.items())
        }
        reasons = counts.get("reason", {})
        return {
            "picks": self.picks,
            "counts": {subject: labels for subject, labels in counts.items() if labels},
            "totals": {subject: n for subject, n in sorted(self.totals.items()) if n},
            "examples": {
                reason: [e.model_dump() for e in examples]
                for reason, examples in sorted(self.examples.items())
                if reason in reasons
            },
            "videos": self.videos.array().tolist(),
            "sample": [pick.model_dump() for pick in self.sample],
            "suspects": [suspect.model_dump() for _, worst in sorted(self.suspects.items()) for suspect in worst],
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Tally:
        """Inverse of `to_json`."""
        tally = cls(content["picks"])
        for subject, labels in content["counts"].items():
            tally.counts[subject] = Counter(labels)
        tally.totals = Counter(content["totals"])
        for reason, examples in content["examples"].items():
            tally.examples[reason] = [BrokenRow.model_validate(e) for e in examples]
        tally.videos = Places(content["videos"])
        tally.sample = [Pick.model_validate(p) for p in content["sample"]]
        for suspect in content["suspects"]:
            tally.suspect(Suspect.model_validate(suspect))
        return tally

    def _first(self, reason: str, examples: list[BrokenRow]) -> None:
        merged = [*self.examples.get(reason, []), *examples]
        merged.sort(key=lambda e: (e.file, e.row, e.field, e.reason))
        self.examples[reason] = merged[:FIRST_EXAMPLES]
        if len(self.examples) > 2 * MAX_LABELS:
            retained = _lowest(self.counts["reason"])
            self.examples = {r: e for r, e in self.examples.items() if r in retained}

    def _worst(self, concern: str, suspects: list[Suspect]) -> None:
        worst = sorted([*self.suspects.get(concern, []), *suspects], key=lambda suspect: suspect.rank)
        self.suspects[concern] = worst[:CASES_OF_EACH]
        if len(self.suspects) > MAX_CONCERNS:
            # Reasons with the lowest hashes stay, as of labels: which do does not depend on the order of the rows.
            del self.suspects[max(self.suspects, key=lambda name: (self.suspects[name][0].broken, place_of(name)))]

    def _sampled(self, picks: list[Pick]) -> None:
        self.sample = sorted([*self.sample, *picks], key=lambda p: (p.place, p.key))[: self.picks]


def _lowest(labels: Counter[str]) -> Counter[str]:
    """The labels with the lowest hashes. A label that is kept in the end was never dropped before, so its count is
    complete."""
    if len(labels) <= MAX_LABELS:
        return labels
    return Counter({label: labels[label] for label in sorted(labels, key=place_of)[:MAX_LABELS]})
