"""Trials without training, for tests of the store."""


def record_of(attempt, trial_record, **changes):
    return trial_record(
        trial_id=attempt.trial_id, attempt=attempt.number, nonce=attempt.nonce, files=attempt.files, **changes
    )


def committed(store, trial_record, trial_id="t1", files=(), **changes):
    attempt = store.claim(trial_id)
    for name, data in dict(files).items():
        attempt.put(name, data)
    assert store.commit(attempt, record_of(attempt, trial_record, **changes))
    return attempt
