"""tables/arms/<experiment>.parquet: which trial an experiment shows under which recipe, arm and seed, as last run."""

from __future__ import annotations

import logging
from pathlib import PurePosixPath

import pyarrow as pa

from swimlab.store.arrow_tables import from_parquet
from swimlab.store.sweep_store import SweepStore

ARMS_SCHEMA = pa.schema(
    [
        ("experiment", pa.string()),
        ("recipe", pa.string()),
        ("arm", pa.string()),
        ("seed", pa.int64()),
        ("trial_id", pa.string()),
    ]
)
_log = logging.getLogger(__name__)


def read_arms(store: SweepStore, path: str) -> pa.Table:
    """The rows of one experiment. A file that is damaged, or of another experiment, counts as empty, with a warning:
    the experiment's next run writes it again."""
    try:
        table = from_parquet(store.read(path)).select(ARMS_SCHEMA.names).cast(ARMS_SCHEMA)
        if others := set(table["experiment"].to_pylist()) - {PurePosixPath(path).stem}:
            raise ValueError(f"it is of {', '.join(sorted(map(str, others)))}")
    except (KeyError, ValueError) as error:  # pyarrow's errors of types are ValueErrors
        _log.warning(
            "%s/%s is damaged and counts as empty (%s): the experiment's next run writes it again",
            store.uri, path, error,
        )  # fmt: skip
        return ARMS_SCHEMA.empty_table()
    return table
