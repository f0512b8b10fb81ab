"""Step checkpoints: whole or not there, of one numerics class, the newest only."""

import json

import pytest
import torch

from swim.checkpoint import Checkpoint
from swim.outputs import FilmFrame, MetricPoint
from swimlab.execution.step_checkpoints import StepCheckpoints, drop, latest
from swimlab.store.backends.local import LocalBackend
from swimlab.store.sweep_store import Attempt

CPU = {"torch": "2", "device": "cpu"}
FRAME = FilmFrame(step=0, key="k", tag=0, noun="lemon", grid=(1, 1, 1), map=b"1234")


class Now:
    """A moment of a run of one weight."""

    def __init__(self, step: int) -> None:
        self.step = step

    def checkpoint(self) -> Checkpoint:
        curve = (MetricPoint(step=self.step, name="loss", value=0.1 + self.step),)
        return Checkpoint(self.step, {"model.w": torch.full((2, 3), float(self.step))}, curve)


def attempts(tmp_path, count):
    backend = LocalBackend(tmp_path)
    return [Attempt(backend, "t", number, f"nonce{number}") for number in range(1, count + 1)]


def test_the_next_attempt_finds_the_newest_whole_step(tmp_path):
    first, second, third = attempts(tmp_path, 3)
    assert latest(first.backend, second, CPU) is None
    saved = StepCheckpoints(first, CPU)
    saved._took_s = 0.0
    for step in (10, 20):
        saved._ended_s = 0.0  # long ago: saving is never too dear here
        assert saved.save(Now(step), [FRAME], "5eed")
    assert {path.split("/")[4] for path in first.backend.files("attempts/t/1/steps")} == {"20"}
    standing = latest(first.backend, second, CPU)
    assert standing.run.step == 20
    assert torch.equal(standing.run.tensors["model.w"], torch.full((2, 3), 20.0))
    assert standing.run.curve == Now(20).checkpoint().curve
    assert standing.film == (FRAME,)
    assert standing.start_weights == "5eed"
    # Not one's own, and not of other numerics.
    assert latest(first.backend, first, CPU) is None
    assert latest(first.backend, second, CPU | {"torch": "3"}) is None
    # A later attempt that came less far, and one whose files are damaged or not all there.
    assert StepCheckpoints(second, CPU).save(Now(10), [], "5eed")
    assert latest(first.backend, third, CPU).run.step == 20
    (tmp_path / "attempts/t/1/steps/20/run.safetensors").write_bytes(b"something else")
    assert latest(first.backend, third, CPU).run.step == 10
    (tmp_path / "attempts/t/2/steps/10/done.json").unlink()
    assert latest(first.backend, third, CPU) is None
    # One that says its class as it was said before processors were part of it, and one without its start.
    assert StepCheckpoints(second, CPU).save(Now(20), [], "5eed")
    assert latest(first.backend, third, CPU).run.step == 20
    assert latest(first.backend, third, CPU | {"cpu_capability": "AVX2"}) is None
    path = "attempts/t/2/steps/20/done.json"
    done = json.loads(first.backend.read(path))
    del done["start_weights"], done["digest"]  # as an older swimlab wrote it
    first.backend.replace(path, json.dumps(done).encode())
    assert latest(first.backend, third, CPU) is None
    drop(first.backend, "attempts/t/1/steps")
    assert first.backend.files("attempts/t/1/steps") == []


@pytest.mark.fault(
    injection="steps/*/done.json is cut, altered or empty", symptom="the trial fails at every rerun",
    expected="right: the step is skipped, with a line", reference="F13",
)  # fmt: skip
@pytest.mark.parametrize("damage", [b"", b"{", b"[]", b"null", b"{}", b'{"numerics": {', "digit", "files"])
def test_a_damaged_step_is_skipped_and_named(tmp_path, damage, caplog):
    first, second, third = attempts(tmp_path, 3)
    assert StepCheckpoints(first, CPU).save(Now(20), [FRAME], "5eed")
    assert StepCheckpoints(second, CPU).save(Now(10), [FRAME], "5eed")
    (tmp_path / "attempts/t/1/steps/old (copy)").mkdir()
    (tmp_path / "attempts/t/1/steps/x").mkdir()
    (tmp_path / "attempts/t/1/steps/x/done.json").write_bytes(b"{}")
    done = tmp_path / "attempts/t/1/steps/20/done.json"
    whole = done.read_bytes()
    changed = {"digit": whole.replace(b"5eed", b"5eee"), "files": whole.replace(b'"size_bytes"', b'"size"')}
    done.write_bytes(damage if isinstance(damage, bytes) else changed[damage])
    assert latest(first.backend, third, CPU).run.step == 10
    assert "attempts/t/1/steps/20/done.json or a file beside it is damaged" in caplog.text


def test_saving_takes_a_twentieth_of_the_time_at_most(tmp_path):
    (first,) = attempts(tmp_path, 1)
    saved = StepCheckpoints(first, CPU)
    assert saved.save(Now(10), [], "5eed")
    saved._took_s = 1e6
    assert not saved.save(Now(20), [], "5eed")
    assert {path.split("/")[4] for path in first.backend.files("attempts/t/1/steps")} == {"10"}
