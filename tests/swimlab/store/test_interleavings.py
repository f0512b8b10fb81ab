"""Two drivers, garbage collection and a compaction in random interleavings; tests/faults has 2,000 of them."""

import os

import interleaved

INTERLEAVINGS = 60


def test_whatever_the_order_nothing_is_lost_and_no_record_lacks_its_files(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # a minute of waiting for the disk
    interleaved.check_many(tmp_path, range(INTERLEAVINGS))
