"""Valid paths of a store: they stay below its prefix and have the same meaning on every backend."""

import re

from swimlab.store.errors import StoreError

SEGMENT = r"[A-Za-z0-9_=@+-][A-Za-z0-9_.=@+-]*"
ID = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"  # of a trial or an evaluation
_SEGMENT = re.compile(SEGMENT)
_TRIAL_ID = re.compile(ID)


def checked_path(path: str) -> str:
    """The path, if relative, with no empty, hidden or `..` segment and portable characters only; else StoreError."""
    if not all(_SEGMENT.fullmatch(segment) for segment in path.split("/")):
        raise StoreError(
            f"{path!r} is not a valid path of a store: use relative segments of letters, digits and _.=@+-, "
            "none of which starts with a dot"
        )
    return path


def checked_trial_id(trial_id: str) -> str:
    """The trial id, if it can be a file name; else StoreError."""
    if not _TRIAL_ID.fullmatch(trial_id):
        raise StoreError(f"{trial_id!r} is not a trial id: use 1 to 64 letters, digits, dashes and underscores")
    return trial_id


def code_path(fingerprint: str) -> str:
    """The archive of the sources with this code fingerprint, relative to the store."""
    return f"code/{fingerprint}.tar.gz"


def folder_of(work_id: str, number: int) -> str:
    """The folder of an attempt's files, relative to the store. `work_id`: of a trial or an evaluation."""
    return f"attempts/{work_id}/{number}"
