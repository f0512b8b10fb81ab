"""A decoder that hangs, crashes, lies or is killed costs its own row at most."""

import contextlib
import os
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
from fault_table import fault
from muxed import Make, write
from PIL import Image

from swim.data.types import DataError, MachineError, ReferSample, Rle, Turn
from swim.data.video import decoder as decoder_module
from swim.data.video.decode import decode_sample
from swim.data.video.decoder import Decoder, patiently, shared_decoder
from swim.recipe import FramePolicy

POLICY = FramePolicy(max_frames=8, min_pixels=32 * 32, max_pixels=64 * 128, cell_px=8)
RLE = Rle(height=4, width=8, counts="0P1")

# Children that speak the protocol as far as they care to: `say` sends a message, `hear` waits for a request.
CHILD = """
import json, os, signal, struct, sys, time
def say(header, pixels=b""):
    message = header if isinstance(header, bytes) else json.dumps(header).encode()
    os.write(1, struct.pack(">I", len(message)) + message + pixels)
def hear():
    return os.read(0, int.from_bytes(os.read(0, 4), "big"))
info = {"frames": 40, "height": 64, "width": 128, "fps": 10.0, "seekable": True}
say({"ready": True})
"""
REAL = "os.execv(sys.executable, [sys.executable, '-P', '-m', 'swim.data.video.decoder_child', str(2**31)])"


def child(does: str) -> tuple[str, ...]:
    return (sys.executable, "-I", "-S", "-c", CHILD + does)


def once(tmp_path: Path, does: str) -> tuple[str, ...]:
    """The first child misbehaves, the next one is the real one."""
    marker = repr(str(tmp_path / "first"))
    first = f"open({marker}, 'w').close()\n" + CHILD + does
    code = f"import os, sys\nif os.path.exists({marker}):\n    {REAL}\nexec({first!r})"
    return (sys.executable, "-S", "-c", code)


def sample(video: str, *tracks: dict[int, Rle], row: int = 2) -> ReferSample:
    turns = (Turn(human="The <ins>bars</ins>?", gpt="Move."),)
    return ReferSample(key=f"f:{row}:x", file="f.json", row=row, video=video, turns=turns, tracks=tracks)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    write(folder / "a.mp4")
    write(folder / "b.mkv", Make(frames=5))
    (folder / "broken.mp4").write_bytes(b"no video at all")
    return folder


@pytest.fixture(scope="module")
def working(root: Path) -> Iterator[Decoder]:
    with Decoder(str(root), POLICY) as found:
        yield found


def check_works(found: Decoder, root: Path) -> None:
    clip, expected = found.clip(sample("a.mp4", {7: RLE})), decode_sample(sample("a.mp4", {7: RLE}), root, POLICY)
    assert np.array_equal(clip.frames_THWC, expected.frames_THWC)
    assert clip.to_row() == expected.to_row()


def gone(pid: int) -> bool:
    """Whether a process ends soon. Zombies count: nobody may have waited for them yet."""
    for _ in range(200):
        with contextlib.suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.05)
                continue
        return True
    return False


def test_a_clip_is_the_one_of_this_process(working: Decoder, root: Path) -> None:
    check_works(working, root)
    pid = working.pid
    assert working.probe("b.mkv").frames == 5
    assert working.clip(sample("b.mkv", {1: RLE}, {4: RLE})).frame_indices == (0, 1, 2, 3, 4, 4)
    assert (working.pid, working.deaths) == (pid, 0)


def test_errors_are_the_ones_of_this_process(working: Decoder, root: Path) -> None:
    tall = Rle(height=90, width=30, counts="0")
    for bad in (sample("none.mp4"), sample("broken.mp4"), sample("../a.mp4"), sample("a.mp4", {0: tall}),
                sample("a.mp4", {40: RLE}), sample("a\udc80.mp4")):  # fmt: skip
        with pytest.raises(DataError) as expected:
            decode_sample(bad, root, POLICY)
        with pytest.raises(DataError) as caught:
            working.clip(bad)
        assert vars(caught.value) == vars(expected.value)
        assert caught.value.key == "f:2:x"
    assert working.deaths == 0


@fault("kill -9 of a decoder between two rows", "the next row is lost", "right: a new decoder, the same clip")
def test_a_child_killed_between_two_rows_is_replaced(root: Path) -> None:
    with Decoder(str(root), POLICY) as found:
        found.probe("a.mp4")
        assert found.pid
        os.kill(found.pid, signal.SIGKILL)
        check_works(found, root)
        last = found.pid
        assert found.deaths == 1
    assert last
    assert gone(last)


@fault("a decoder dies once in the middle of a row", "the row is lost or gets half a clip", "right: decoded again")
@pytest.mark.parametrize(
    "does",
    [
        "hear(); os.kill(os.getpid(), signal.SIGKILL)",
        "hear(); say({'info': info}, bytes(1000)); os.kill(os.getpid(), signal.SIGSEGV)",
        "hear(); say(b'{')",
        "sys.exit(3)",
    ],
)
def test_a_child_that_dies_in_the_middle_costs_nothing(does: str, root: Path, tmp_path: Path) -> None:
    with Decoder(str(root), POLICY, command=once(tmp_path, does)) as found:
        check_works(found, root)
        assert found.deaths == 1


@fault("a decoder dies at a row each time, or answers rubbish", "the data set is lost, or rubbish becomes a clip",
       "error costs the row and names how it died")  # fmt: skip
@pytest.mark.parametrize(
    ("does", "reason"),
    [
        ("hear(); os.kill(os.getpid(), signal.SIGSEGV)", "signal SIGSEGV"),
        ("hear(); os._exit(3)", "exit code 3"),
        ("hear(); os.close(0); os.close(1); time.sleep(60)", "closed its pipe"),
        ("hear(); say(b'\\x80\\xff')", "not readable"),
        ("hear(); say(b'[' * 60000)", "not readable"),
        ("hear(); os.write(1, b'\\xff' * 100000); time.sleep(60)", "4294967295 bytes"),
        ("hear(); say([1, 2])", "not readable"),
        ("hear(); say({'info': info | {'frames': 10**12}}); time.sleep(60)", "not readable"),
        ("hear(); say({'info': info | {'height': 10**6, 'width': 10**6}}); time.sleep(60)", "not readable"),
        ("hear(); say({'info': info | {'height': '64'}}); time.sleep(60)", "not readable"),
        ("hear(); say({'info': info | {'fps': float('nan')}}); time.sleep(60)", "not readable"),
        ("hear(); say({'info': info | {'more': 1}}); time.sleep(60)", "not readable"),
    ],
)
def test_a_child_that_always_dies_or_lies_costs_its_row(
    does: str, reason: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "sleep" in does:  # it is not going to end: 4 s of waiting for its exit code tell nothing
        monkeypatch.setattr(decoder_module, "_DEATH_WAIT_S", 0.05)
    with Decoder(str(root), POLICY, command=child(does)) as found:
        with pytest.raises(DataError, match=f"died twice .*{reason}") as caught:
            found.clip(sample("a.mp4"))
        assert (caught.value.field, caught.value.row, found.deaths, found.pid) == ("video", 2, 2, None)
        assert not isinstance(caught.value, MachineError)


@fault("kill -9 of the decoder at each try, as the memory killer does", "a good video is left out for good",
       "error says that the machine killed it; tried again later", "F7")  # fmt: skip
def test_a_child_that_is_killed_each_time_is_the_machines_fault(root: Path) -> None:
    killed = child("hear(); os.kill(os.getpid(), signal.SIGKILL)")
    with Decoder(str(root), POLICY, command=killed) as found:
        with pytest.raises(MachineError, match="was killed twice") as caught:
            found.clip(sample("a.mp4"))
        assert (caught.value.field, caught.value.row, caught.value.key, found.deaths) == ("video", 2, "f:2:x", 2)


def test_a_child_that_is_killed_slowly_is_known_by_its_signal(root: Path) -> None:
    """The kernel closes the pipes of a large process some time before the process has ended."""
    slow = "hear(); os.close(0); os.close(1); time.sleep(0.6); os.kill(os.getpid(), signal.SIGKILL)"
    with Decoder(str(root), POLICY, command=child(slow)) as found, pytest.raises(MachineError, match="killed twice"):
        found.clip(sample("a.mp4"))


@fault("a decoder is late without computing", "a good row is called damaged", "right: the machine's fault", "F7")
@pytest.mark.parametrize(("does", "kept_waiting"), [("time.sleep(60)", True), ("\nwhile True: pass", False)])
def test_a_late_child_is_the_machines_fault_unless_it_computed(does: str, kept_waiting: bool, root: Path) -> None:
    with Decoder(str(root), POLICY, deadline_s=1.0, command=child("hear();" + does)) as found:
        found._running_child()  # its start is no part of the deadline
        if not kept_waiting:  # other processes may take this machine's time from it
            found._child.cpu_s = lambda: 0.9  # type: ignore[method-assign, union-attr]
        with pytest.raises(DataError, match=r"longer than 1 s") as caught:
            found.clip(sample("a.mp4"))
    assert isinstance(caught.value, MachineError) is kept_waiting


def test_who_cannot_leave_a_row_for_later_asks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder_module, "PATIENCE_S", (0.0, 0.0))
    tries = Counter[str]()

    def killed(times: int) -> int:
        tries["all"] += 1
        if tries["all"] <= times:
            raise MachineError("killed", field="video", hint="wait")
        return tries["all"]

    assert patiently(lambda: killed(2)) == 3
    with pytest.raises(OSError, match="killed") as caught:
        patiently(lambda: killed(100))
    assert not isinstance(caught.value, DataError)
    assert tries["all"] == 6


def test_cpu_time_is_that_of_the_child(root: Path) -> None:
    busy = "hear()\nwhile time.process_time() < 0.5: pass\nsay(b'{}'); hear()"
    with Decoder(str(root), POLICY, command=child(busy)) as found:
        running = found._running_child()
        running.write(b"\0\0\0\1x", time.monotonic() + 60)
        running.read(6, time.monotonic() + 60)
        assert 0.45 < running.cpu_s() < 5


def test_what_a_child_reports_is_kept_short(root: Path) -> None:
    long = "hear(); say({'error': {'reason': 'r' * 30000, 'field': 'video', 'hint': 'h'}}); hear()"
    with Decoder(str(root), POLICY, command=child(long)) as found, pytest.raises(DataError) as caught:
        found.clip(sample("a.mp4"))
    assert len(caught.value.reason) == 2000


@fault("a decoder hangs", "preparation hangs", "error costs the row after the deadline")
@pytest.mark.parametrize(
    "does", ["time.sleep(60)", "hear(); say({'info': info}, bytes(1000)); time.sleep(60)", "hear(); hear()"]
)
def test_a_child_that_hangs_is_ended_at_the_deadline(does: str, root: Path) -> None:
    with Decoder(str(root), POLICY, deadline_s=0.3, command=child(does)) as found:
        with pytest.raises(DataError, match=r"longer than 0\.3 s") as caught:
            found.clip(sample("a.mp4", *[{i: RLE} for i in range(8)]))
        assert (caught.value.key, found.deaths, found.pid) == ("f:2:x", 1, None)


@fault("SIGSTOP of a decoder", "preparation hangs, or the next row gets the old answer", "right: replaced")
def test_a_stopped_child_is_replaced_for_the_next_row(root: Path) -> None:
    with Decoder(str(root), POLICY) as found:
        found.probe("a.mp4")
        stopped = found.pid
        assert stopped
        os.kill(stopped, signal.SIGSTOP)
        found.deadline_s = 0.3
        with pytest.raises(DataError, match="longer than"):
            found.clip(sample("a.mp4"))
        assert gone(stopped)
        found.deadline_s = 300
        check_works(found, root)


def test_a_request_larger_than_a_pipe_does_not_hang(root: Path) -> None:
    """Against a child that never reads; and the real one reads it."""
    many = sample("a.mp4", *({i % 40: Rle(height=i + 4, width=2 * i + 8, counts="0")} for i in range(10_000)))
    deaf = child("time.sleep(60)")
    with Decoder(str(root), POLICY, deadline_s=0.3, command=deaf) as found, pytest.raises(DataError, match="longer"):
        found.clip(many)
    with Decoder(str(root), POLICY) as found, pytest.raises(DataError, match="40 annotated frames, 8 fit"):
        found.clip(many)


@fault(
    "a picture of 16 kB that asks for 256 MB a frame",
    "the machine's memory is used up",
    "error names the limit and costs the row",
)
def test_memory_is_bounded(tmp_path: Path) -> None:
    (tmp_path / "large").mkdir()
    (tmp_path / "small").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "small" / "0.png")
    png = bytearray((tmp_path / "small" / "0.png").read_bytes())
    png[16:24] = struct.pack(">II", 8000, 8000)  # room for all of them is made before the first is missed
    png[29:33] = struct.pack(">I", zlib.crc32(png[12:29]))
    (tmp_path / "large" / "0.png").write_bytes(png)
    with Decoder(str(tmp_path), POLICY, memory_bytes=384 * 2**20) as found:
        with pytest.raises(DataError, match=r"more than 0\.375 GiB"):
            found.clip(sample("large"))
        assert found.clip(sample("small")).frames_THWC.shape == (2, 64, 64, 3)
        assert found.deaths == 1


@fault("a decoder cannot start for want of memory", "every row is left out as damaged", "error is the machine's")
def test_a_child_that_cannot_start_is_no_fault_of_the_row(root: Path) -> None:
    for command, memory, reason in (
        (("/bin/false",), 2**30, r"exit code 1.*/bin/false"),
        ((sys.executable, "-c", "print('hello')"), 2**30, "does not start"),
        ((), 48 * 2**20, "does not start"),
    ):
        with Decoder(str(root), POLICY, memory_bytes=memory, command=command) as found:
            with pytest.raises(ChildProcessError, match=reason):
                found.clip(sample("a.mp4"))
            assert found.pid is None


@fault("libraries print into the decoder's stdout", "the clip is shifted by their bytes", "right: the same clip")
def test_what_libraries_print_does_not_reach_the_pipe(root: Path) -> None:
    noisy = """
import os, sys
from swim.data.video import decode, decoder_child
quiet = decode.probe
def probe(*args):
    os.write(1, b"noise " * 1000)
    print("more noise", flush=True)
    os.write(2, b"noise " * 100000)
    return quiet(*args)
decode.probe = probe
decoder_child.main()
"""
    command = (sys.executable, "-P", "-c", noisy, str(2**31))
    with Decoder(str(root), POLICY, command=command) as found:
        check_works(found, root)


@fault("kill -9 of the process that owns a decoder that hangs", "the decoder stays behind", "right: it ends too")
def test_no_child_outlives_its_parent(root: Path) -> None:
    script = f"""
import os, signal
from swim.data.video.decoder import Decoder
from swim.recipe import FramePolicy
decoder = Decoder({str(root)!r}, FramePolicy())
decoder.probe("a.mp4")
print(decoder.pid, flush=True)
os.kill(decoder.pid, signal.SIGSTOP)  # as if it hung: it cannot notice the end of its input
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert gone(int(done.stdout))


def test_a_process_forked_off_has_its_own_child(working: Decoder) -> None:
    before = working.probe("a.mp4")
    pid = working.pid
    if (forked := os.fork()) == 0:
        with contextlib.suppress(BaseException):
            same = working.probe("a.mp4") == before and working.pid != pid
            working.close()
            os._exit(0 if same else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1]) == 0
    assert (working.probe("a.mp4"), working.pid, working.deaths) == (before, pid, 0)


def test_threads_share_a_child(working: Decoder) -> None:
    found: dict[int, tuple[int, ...]] = {}

    def clip(i: int) -> None:
        found[i] = working.clip(sample(("a.mp4", "b.mkv")[i % 2])).frame_indices

    threads = [threading.Thread(target=clip, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(found[i]) for i in range(8)] == [8, 6] * 4
    assert working.deaths == 0


def test_a_child_outlives_the_thread_that_asked_for_it(root: Path) -> None:
    """Each task of Ray Data runs in a thread of its own: a child for each would cost more than its decoding."""
    with Decoder(str(root), POLICY) as found:
        pids = set()
        for _ in range(3):
            thread = threading.Thread(target=found.probe, args=("a.mp4",))
            thread.start()
            thread.join()
            time.sleep(0.05)
            pids.add(found.pid)
        check_works(found, root)
        assert (pids, found.deaths) == ({found.pid}, 0)


def test_one_decoder_serves_all_tasks_of_a_process(root: Path, tmp_path: Path) -> None:
    first = shared_decoder(str(root), POLICY)
    first.probe("a.mp4")
    pid = first.pid
    assert pid
    assert shared_decoder(str(root), POLICY.model_copy()) is first
    other = shared_decoder(str(tmp_path), POLICY)
    assert other is not first
    assert gone(pid)
    other.close()
    decoder_module._shared = None
