"""Step checkpoints: whole or not there, of one numerics class, the newest only."""

import json
import threading

import pytest
import torch

from swim.checkpoint import Piece, Snapshot
from swim.outputs import FilmFrame, MetricPoint
from swimlab.execution.numerics import continued
from swimlab.execution.resume_points import latest
from swimlab.execution.step_checkpoints import SAVING_SHARE, StepCheckpoints, drop
from swimlab.stats.pairing import Origin, comparable
from swimlab.store.backends.local import LocalBackend
from swimlab.store.sweep_store import Attempt, StoreError

DEVICE = torch.device("cpu")
CPU = {"torch": "2", "device": "cpu", "world_size": 1}
FRAME = FilmFrame(step=0, key="k", tag=0, noun="lemon", grid=(1, 1, 1), map=b"1234")


class Now:
    """A moment of a run of one weight, on one rank of `world`, which holds one row of it."""

    def __init__(self, step: int, rank: int = 0, world: int = 1) -> None:
        self.step, self.rank, self.world = step, rank, world

    def checkpoint(self) -> Snapshot:
        curve = (MetricPoint(step=self.step, name="loss", value=0.1 + self.step),)
        rows, shares = (
            {"model.w": torch.full((1, 3), float(self.step))},
            {"model.w": Piece(self.rank, 1, (self.world, 3))},
        )
        return Snapshot(self.step, rows, curve, shares, self.rank, self.world)


def attempts(tmp_path, count):
    backend = LocalBackend(tmp_path)
    return [Attempt(backend, "t", number, f"nonce{number}") for number in range(1, count + 1)]


def save(attempt, *steps, numerics=CPU, film=(FRAME,), start="5eed"):
    with StepCheckpoints(attempt, numerics, every_s=0) as saved:
        for step in steps:
            saved.save(Now(step), film, start)


def fails_after_saving(saved):
    saved.save(Now(10), [], "5eed")
    return 1 / 0


def find(attempt, numerics=CPU, **options):
    return latest(attempt.backend, attempt, numerics, DEVICE, **options)


def step_of(point):
    return point and point.run.step


def weight(run, rows=1):
    tensor = torch.zeros(rows, 3)
    run.read({"model.w": tensor}, 0)
    return tensor


def test_the_next_attempt_finds_the_newest_whole_step(tmp_path):
    first, second, third = attempts(tmp_path, 3)
    assert find(second) is None
    save(first, 10, 20)
    assert {path.split("/")[4] for path in first.backend.files("attempts/t/1/steps")} == {"20"}
    standing = find(second)
    assert standing.run.step == 20
    assert torch.equal(weight(standing.run), torch.full((1, 3), 20.0))
    assert standing.run.curve == Now(20).checkpoint().curve
    assert standing.film == (FRAME,)
    assert standing.start_weights == "5eed"
    assert standing.numerics == CPU
    # Not one's own, and not of other numerics.
    assert find(first) is None
    assert find(second, CPU | {"torch": "3"}) is None
    # A later attempt that came less far, and one whose files are damaged or not all there.
    save(second, 10)
    assert step_of(find(third)) == 20
    (tmp_path / "attempts/t/1/steps/20/rank-00000.safetensors").write_bytes(b"something else")
    assert step_of(find(third)) == 10
    with pytest.raises(ValueError, match=r"steps/20/rank-00000.safetensors was altered after it was written"):
        weight(standing.run)  # damaged after it had been chosen
    (tmp_path / "attempts/t/2/steps/10/done.json").unlink()
    assert find(third) is None
    # One that says its class as it was said before processors were part of it, and one without its start.
    save(second, 20)
    assert step_of(find(third)) == 20
    assert find(third, CPU | {"cpu_capability": "AVX2"}) is None
    path = "attempts/t/2/steps/20/done.json"
    done = json.loads(first.backend.read(path))
    del done["start_weights"], done["digest"]  # as an older swimlab wrote it
    first.backend.replace(path, json.dumps(done).encode())
    assert find(third) is None
    drop(first.backend, "attempts/t/1/steps")
    assert first.backend.files("attempts/t/1/steps") == []


def test_another_number_of_workers_resumes_on_request_and_says_so(tmp_path):
    first, second = attempts(tmp_path, 2)
    save(first, 10, numerics=CPU | {"world_size": 4})
    assert find(second) is None
    point = find(second, other_workers=True)
    assert point.run.step == 10
    assert point.numerics == CPU | {"world_sizes": "4, 1"}
    assert find(second, CPU | {"torch": "3"}, other_workers=True) is None
    resumed, whole = (Origin.of({f"numerics.{k}": v for k, v in n.items()}) for n in (point.numerics, CPU))
    assert not comparable([resumed, whole])  # a table with both is MIXED
    # What such a run saves is not resumed unasked either, and its history grows only where the number changes.
    again = CPU | {"world_sizes": "4, 1"}
    assert continued(again, CPU) == again
    assert continued(again, CPU | {"world_size": 2})["world_sizes"] == "4, 1, 2"


@pytest.mark.fault(
    injection="steps/*/done.json is cut, altered or empty", symptom="the trial fails at every rerun",
    expected="right: the step is skipped, with a line", reference="F13",
)  # fmt: skip
@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"null", b"{}", b'{"numerics": {', "digit", "files"])
def test_a_damaged_step_is_skipped_and_named(tmp_path, damage, caplog):
    first, second, third = attempts(tmp_path, 3)
    save(first, 20)
    save(second, 10)
    (tmp_path / "attempts/t/1/steps/old (copy)").mkdir()
    (tmp_path / "attempts/t/1/steps/x").mkdir()
    (tmp_path / "attempts/t/1/steps/x/done.json").write_bytes(b"{}")
    done = tmp_path / "attempts/t/1/steps/20/done.json"
    whole = done.read_bytes()
    changed = {"digit": whole.replace(b"5eed", b"5eee"), "files": whole.replace(b'"size_bytes"', b'"size"')}
    done.write_bytes(damage if isinstance(damage, bytes) else changed[damage])
    assert step_of(find(third)) == 10
    assert "attempts/t/1/steps/20/done.json or a file beside it is damaged" in caplog.text


def test_a_save_is_due_at_once_then_when_the_time_has_passed_and_the_last_one_is_written(tmp_path, monkeypatch):
    first, _ = attempts(tmp_path, 2)
    now_s, may_end = [100.0], threading.Event()
    monkeypatch.setattr("swimlab.execution.step_checkpoints.time.monotonic", lambda: now_s[0])
    written = StepCheckpoints._write

    def slow(saved, *what):
        may_end.wait(30)
        now_s[0] += 1
        written(saved, *what)

    monkeypatch.setattr(StepCheckpoints, "_write", slow)
    with StepCheckpoints(first, CPU, every_s=60) as saved:
        assert saved.due()
        saved.save(Now(10), [], "5eed")
        now_s[0] += 1
        assert not saved.due()  # still being written
        may_end.set()
        saved.wait()
        took_s, begun_s = 2, 100
        for after_s, due in ((took_s / SAVING_SHARE - 1, False), (took_s / SAVING_SHARE, True)):
            now_s[0] = begun_s + after_s
            assert saved.due() is due
    with StepCheckpoints(first, CPU, every_s=3) as often:
        often.save(Now(20), [], "5eed")
        often.wait()
        assert not often.due()
        now_s[0] += 3
        assert often.due()


@pytest.mark.fault(
    injection="a step checkpoint cannot be written while training goes on",
    symptom="nobody hears of it, and the trial has nothing to resume from",
    expected="error: the trial fails as it did when it wrote by itself",
)
def test_what_the_writing_thread_raises_reaches_the_training(tmp_path, monkeypatch):
    (first,) = attempts(tmp_path, 1)

    def full(*_):
        raise StoreError("no space left")

    monkeypatch.setattr("swimlab.execution.step_checkpoints.put_dir_once", full)
    with StepCheckpoints(first, CPU, every_s=0) as saved:
        saved.save(Now(10), [], "5eed")
        with pytest.raises(StoreError, match="no space left"):
            saved.wait()
        saved.save(Now(20), [], "5eed")
        with pytest.raises(StoreError, match="no space left"):
            saved.save(Now(30), [], "5eed")
    with pytest.raises(StoreError, match="no space left"), StepCheckpoints(first, CPU, every_s=0) as saved:
        saved.save(Now(10), [], "5eed")
    with pytest.raises(ZeroDivisionError), StepCheckpoints(first, CPU, every_s=0) as saved:
        fails_after_saving(saved)


def test_a_step_of_two_ranks_is_complete_when_both_have_written(tmp_path):
    first, second = attempts(tmp_path, 2)
    done = tmp_path / "attempts/t/1/steps/10/done.json"
    with StepCheckpoints(first, CPU, every_s=0) as zero, StepCheckpoints(first, CPU, every_s=0) as one:
        zero.save(Now(10, 0, 2), [], "5eed")
        assert not done.exists()
        assert not zero.due()
        one.save(Now(10, 1, 2), [], "5eed")
        zero.wait()
        assert done.exists()
        assert torch.equal(weight(find(second).run, rows=2), torch.full((2, 3), 10.0))
        # The other rank dies before it has written: the step before stays.
        zero.save(Now(20, 0, 2), [], "5eed")
    assert step_of(find(second)) == 10
