"""The clips of a trial, as its workers read them."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

from swim.data.clips import Clips
from swim.recipe import NLReferFiles
from swimlab.data.prepared_clips import PreparedData, Split, StoredClips, load_prepared
from swimlab.data.streamed_clips import StreamedClips
from swimlab.experiment.trial_spec import TrialSpec
from swimlab.store.sweep_store import SweepStore

# What a reused process may hold of a split, and of a table of features, from one trial to the next.
KEPT_BYTES = 2**29


def reader(spec: TrialSpec, store: SweepStore, decode_cpus: float) -> Callable[[Split], Clips]:
    """Reads the clips of a split: from the store, or decoded on `decode_cpus` of the trial's own. Raises
    FileNotFoundError for a data set that nobody has prepared."""
    data = spec.recipe.data
    streams = decode_cpus > 0 and isinstance(data, NLReferFiles)
    prepared = load_prepared(store, spec.clips_fingerprint, stored=not streams)
    if prepared is None:
        raise FileNotFoundError(f"clips/{spec.clips_fingerprint} is not in the store {store.uri}: prepare it first")
    if isinstance(data, NLReferFiles) and streams:
        return partial(StreamedClips, store, prepared, data=data, cpus=decode_cpus)
    return partial(_stored, store, prepared)


def _stored(store: SweepStore, prepared: PreparedData, split: Split) -> Clips:
    small = prepared.memory_bytes(split) <= KEPT_BYTES
    return _kept(store.uri, prepared.to_json(), split) if small else StoredClips(store, prepared, split)


@lru_cache(maxsize=2)
def _kept(uri: str, manifest: bytes, split: Split) -> StoredClips:
    """Both splits of the last data set that this process read: to parse 2,250 clips again for each trial took 1.7 s."""
    return StoredClips(SweepStore(uri), PreparedData.from_json(manifest), split)
