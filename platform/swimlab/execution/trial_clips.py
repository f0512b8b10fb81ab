"""The clips of a trial, as its workers read them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, lru_cache

from swim.data.clips import Clips
from swim.recipe import NLReferFiles
from swimlab.data.prepared_clips import PreparedData, Split, StoredClips, load_prepared
from swimlab.data.streamed_clips import StreamedClips
from swimlab.experiment.trial_spec import TrialSpec
from swimlab.store.sweep_store import SweepStore

# What a reused process may hold of a split, and of a table of features, from one trial to the next.
KEPT_BYTES = 2**29


def reader(spec: TrialSpec, store: SweepStore, decode_cpus: float) -> Callable[[Split], Clips]:
    """Reads the clips of a split: from the store, or decoded on `decode_cpus` of the trial's own. A split is opened
    once, however many suites read it. Raises FileNotFoundError, at once or when it reads, for a data set that nobody
    has prepared."""
    data = spec.recipe.data
    streams = decode_cpus > 0 and isinstance(data, NLReferFiles)

    @cache
    def load(fingerprint: str) -> PreparedData:
        prepared = load_prepared(store, fingerprint, stored=not streams)
        if prepared is None:
            raise FileNotFoundError(f"clips/{fingerprint} is not in the store {store.uri}: prepare it first")
        return prepared

    @cache
    def read(split: Split) -> Clips:
        prepared = load(spec.clips(split).clips_fingerprint)
        if isinstance(data, NLReferFiles) and streams:
            return StreamedClips(store, prepared, split, data, decode_cpus)
        return _stored(store, prepared, split)

    load(spec.clips_fingerprint)
    return read


def _stored(store: SweepStore, prepared: PreparedData, split: Split) -> Clips:
    if prepared.memory_bytes(split) > KEPT_BYTES:
        return StoredClips(store, prepared, split)
    kept = _kept_validation if split == "validation" else _kept
    return kept(store.uri, prepared.to_json(), split)


def _parsed(uri: str, manifest: bytes, split: Split) -> StoredClips:
    return StoredClips(SweepStore(uri), PreparedData.from_json(manifest), split)


# Both splits of the last data set that this process read, and the last clips that choose: to parse 2,250 clips again
# for each trial took 1.7 s.
_kept, _kept_validation = lru_cache(maxsize=2)(_parsed), lru_cache(maxsize=1)(_parsed)
