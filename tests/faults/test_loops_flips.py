"""Single flipped bits in every kind of stored file: 3,000 each in the slow tier, a few in the fast one."""

import logging
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import every_kind
import kind_readers
import pytest
from kind_readers import Kind
from store_kit import flipped

from swimlab.data.prepared_clips import PipelineError
from swimlab.store.arrow_tables import DamagedTableError
from swimlab.store.errors import StoreError
from swimlab.store.sweep_store import SweepStore

FLIPS, FEW_FLIPS = 3_000, 15
NOTICED = {"same", "refused", "warned"}
EDGE_BYTES = 2_000  # a half of the flips hits the beginning or the end, where formats keep what is not data


Filled = dict[str, tuple[str, Kind]]  # name → store and kind


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, trained_store: SweepStore) -> Filled:
    folder = tmp_path_factory.mktemp("flips")
    store, live = SweepStore(str(folder / "store")), SweepStore(str(folder / "live"))
    plan = every_kind.with_results(store, trained_store, folder / "cache")
    every_kind.with_running(live)
    kinds = {store.uri: kind_readers.of_results(store, plan), live.uri: kind_readers.of_running()}
    return {name: (uri, kind) for uri, of_store in kinds.items() for name, kind in of_store.items()}


class Warnings(logging.Handler):
    """The messages logged since it was cleared."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


def place(size: int, rng: random.Random) -> int:
    """The byte to hit in a file of this size."""
    at = rng.randrange(size)
    if rng.random() < 0.5:
        at = rng.randrange(-EDGE_BYTES, EDGE_BYTES) % size
    return at


def outcome(read: Callable[[], Any], expected: Any, kind: Kind, warned: list[str]) -> str:
    """What a reader of a damaged file gets: "same", "refused" (an error that names the file), "warned" (something else,
    and a warning that names the file), else what is wrong."""
    try:
        value = read()
    except (StoreError, PipelineError, DamagedTableError) as error:
        named = kind.path in str(error) or not kind.named
        return "refused" if named else f"file not named: {error}"
    except Exception as error:
        return f"raw: {type(error).__name__}: {error}"
    if value == expected:
        return "same"
    return "warned" if any(kind.path in message for message in warned) else "SILENT"


def flip(filled: Filled, name: str, count: int, seed: int) -> Counter[str]:
    """The outcomes of this many flips in the file of a kind."""
    (uri, kind), log = filled[name], Warnings()
    file = Path(uri, kind.path)
    data, rng, outcomes = file.read_bytes(), random.Random(f"{seed} {name}"), Counter[str]()
    expected = kind.read(SweepStore(uri))
    logging.getLogger("swimlab").addHandler(log)
    try:
        for _ in range(count):
            file.write_bytes(flipped(data, rng, place(len(data), rng)))
            log.messages.clear()
            outcomes[outcome(lambda: kind.read(SweepStore(uri)), expected, kind, log.messages)] += 1
    finally:
        logging.getLogger("swimlab").removeHandler(log)
        file.write_bytes(data)
    assert kind.read(SweepStore(uri)) == expected
    return outcomes


NAMES = (
    "trial record",
    "evaluation record",
    "evaluation made with the training",
    "curve",
    "film",
    "samples",
    "overlays",
    "checkpoint weights",
    "checkpoint configuration",
    "trial snapshot",
    "evaluation snapshot",
    "table of trials",
    "table of evaluations",
    "table of curves",
    "table of samples",
    "table of arms",
    "table of measurements",
    "note of a checkpoint that was not kept",
    "step checkpoint: tensors",
    "step checkpoint: curve",
    "step checkpoint: film",
    "step checkpoint: commit",
    "clips manifest",
    "clips in memory",
    "clips read one by one",
    "clips index",
    "quarantined rows",
    "receipt of decoded clips",
    "mark of a row that was set aside",
    "plan",
    "protocol",
    "run times",
    "rung",
    "pruned trial",
    "source archive, run again",
    "source archive, compared",
    "source archive, of code that changed",
    "answer of a language model",
    "plan of a generation",
    "receipt of answers",
    "answers",
    "evaluation of a served model",
    "rewriting run",
    "rejected rows of a rewriting run",
    "measurements",
    "claim",
    "heartbeat",
    "progress",
    "failure",
)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.fault(
    injection="a flipped bit in each kind of stored file, 15 times a kind",
    symptom="a reader gets something else without a word, or an error that does not name the file",
    expected="right: the same, or an error or a warning that names the file",
    reference="c",
)
def test_a_few_flipped_bits_are_noticed(name: str, fault_seed: int, filled: Filled) -> None:
    assert set(flip(filled, name, FEW_FLIPS, fault_seed)) <= NOTICED


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.fault(
    injection="a flipped bit in each kind of stored file, 3,000 times a kind",
    symptom="a reader gets something else without a word, or an error that does not name the file",
    expected="right: the same, or an error or a warning that names the file",
    reference="c",
)
def test_every_flipped_bit_is_noticed(
    name: str, fault_seed: int, filled: Filled, record_property: Callable[[str, object], None]
) -> None:
    outcomes = flip(filled, name, FLIPS, fault_seed)
    record_property("message", ", ".join(f"{n} {what}" for what, n in outcomes.most_common()))
    assert set(outcomes) <= NOTICED


def test_every_kind_of_file_is_tried(filled: Filled) -> None:
    """No folder of a store is left out."""
    tried = {kind.path.split("/")[0] for _, kind in filled.values()}
    stores = {uri for uri, _ in filled.values()}
    listed = {path.relative_to(uri).parts[0] for uri in stores for path in Path(uri).rglob("*") if path.is_file()}
    assert listed == tried
    assert set(NAMES) == set(filled)
