"""A stored trial comes out the same again, by the code it was made with; what was tampered with does not."""

import hashlib
import os
import pty
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from swim.recipe import NLReferFiles
from swimlab import __main__
from swimlab.execution import replay
from swimlab.execution.replay_process import ReplayError, environment
from swimlab.execution.replay_source import archive_digest
from swimlab.identity import canonical, source_archive
from swimlab.identity.source_archive import members
from swimlab.identity.source_closure import SOURCE_ROOT, SourceFile, fingerprint
from swimlab.store.arrow_tables import from_parquet, metrics_from_table, metrics_table, to_parquet
from swimlab.store.paths import code_path
from swimlab.store.records import FileEntry, TrialRecord
from swimlab.store.sweep_store import StoreError, SweepStore


def of_arm(store: SweepStore, **objective: object) -> TrialRecord:
    (found,) = [
        record
        for record in store.records().values()
        if record.init_trial_id and all(record.recipe["objective"][k] == v for k, v in objective.items())
    ]
    return found


@pytest.fixture
def copied(trained_store: SweepStore, tmp_path: Path) -> SweepStore:
    shutil.copytree(trained_store.uri, tmp_path / "store")
    return SweepStore(str(tmp_path / "store"))


def swimlab(*argv: str) -> int:
    with pytest.raises(SystemExit) as ended:
        __main__.main(argv)
    return int(ended.value.code or 0)


def read_all(terminal: int, screen: bytearray) -> None:
    try:
        while block := os.read(terminal, 4096):
            screen.extend(block)
    except OSError:  # the last one of the other side has closed it
        pass


def on_terminal(answer: str, run: Callable[[int], int]) -> tuple[int, str]:
    """Calls run(its file descriptor) with a terminal of its own, where somebody types the answer. Its exit code and
    what the screen shows."""
    ours, theirs = pty.openpty()
    os.write(ours, answer.encode())
    screen = bytearray()
    reader = threading.Thread(target=read_all, args=(ours, screen))
    reader.start()
    try:
        code = run(theirs)
    finally:
        os.close(theirs)
        reader.join(60)
        os.close(ours)
    return code, " ".join(screen.decode().split())


def typed(answer: str, *argv: str) -> tuple[int, str]:
    """`swimlab` in this process, on a terminal."""

    def run(terminal: int) -> int:
        with (
            open(terminal, closefd=False) as stdin,
            open(terminal, "w", closefd=False) as stdout,
            pytest.MonkeyPatch.context() as patch,
        ):
            patch.setattr(sys, "stdin", stdin)
            patch.setattr(sys, "stdout", stdout)
            return swimlab(*argv)

    return on_terminal(answer, run)


def rewritten(store: SweepStore, record: TrialRecord, changes: Mapping[str, tuple[bytes, bytes]]) -> TrialRecord:
    """Path → old and new text: changed in the archive, and the record forged so that it names the new archive."""
    files = members(store.read(code_path(record.code_fingerprint)))
    for path, (old, new) in changes.items():
        assert old in files[path]
        files[path] = files[path].replace(old, new)
    hashes = source_archive._hashes(files)
    packed = source_archive.archive(SourceFile(path, data, "") for path, data in files.items())
    name = fingerprint(dict(sorted(hashes.items())))
    store.backend.replace(code_path(name), packed)
    provenance = record.provenance.model_copy(update={"source_sha256": source_archive.digest(packed)})
    return record.model_copy(update={"code_fingerprint": name, "provenance": provenance})


# A `swim.train` that reads a clip a step and trains nothing: the real one imports transformers, 5 s of CPU.
LIGHT = b"""
from collections.abc import Callable
from dataclasses import dataclass

@dataclass
class Host:
    on_step: Callable

def train(recipe, clips, init_dir, host):
    for step in (1, 2):
        list(clips.read([0]))
        host.on_step(step, {"lr": -1.0})
"""


def with_light_training(store: SweepStore, record: TrialRecord, train: bytes = LIGHT) -> TrialRecord:
    whole = members(store.read(code_path(record.code_fingerprint)))["swim/train.py"]
    return rewritten(store, record, {"swim/train.py": (whole, train)})


def test_a_trial_replays_equal_once_somebody_says_yes(trained_store: SweepStore, tmp_path: Path) -> None:
    record = of_arm(trained_store, mask_weight=1.0, fusion="mean")
    flags = ("--store", trained_store.uri, "--cache", str(tmp_path))
    code, screen = typed("y\n", "replay", record.trial_id[:9], *flags)
    assert code == 0, screen
    before, _, after = screen.partition("Run it?")
    assert f"{trained_store.uri}/code/{record.code_fingerprint}.tar.gz, with your rights" in before
    assert "numerics class is the same" in after
    assert "EQUAL: 4 of 4 steps" in after


@pytest.mark.fault(
    injection="the question before a replay is answered by no, nothing or end of file",
    symptom="code from the store runs unasked",
    expected="right: nothing runs, exit code 1",
    reference="F17",
)
def test_without_a_yes_nothing_runs(copied: SweepStore, tmp_path: Path) -> None:
    record = of_arm(copied, mask_weight=1.0, fusion="mean")
    copied.backend.delete(f"attempts/{record.trial_id}/{record.attempt}/metrics.parquet")  # would be read first
    command = ("replay", record.trial_id, "--store", copied.uri, "--cache", str(tmp_path))

    def process(terminal: int) -> int:
        argv = [sys.executable, "-m", "swimlab", *command]
        return subprocess.run(
            argv, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True, timeout=300
        ).returncode

    for code, screen in (on_terminal("n\n", process), *(typed(answer, *command) for answer in ("n\n", "\n", "\x04"))):
        assert (code, screen.rpartition("Run it?")[2].endswith("not run")) == (1, True), screen


@pytest.mark.fault(
    injection="swimlab replay without a terminal and without --trust", symptom="code of the store runs unasked",
    expected="error: it asks, and names the flag", reference="F17",
)  # fmt: skip
def test_without_a_terminal_nothing_runs(
    trained_store: SweepStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record = of_arm(trained_store, mask_weight=1.0, fusion="mean")
    assert swimlab("replay", record.trial_id, "--store", trained_store.uri, "--cache", str(tmp_path)) == 1
    printed = capsys.readouterr().out
    assert f"add --trust if you trust all who can write to {trained_store.uri}" in printed
    assert "EQUAL" not in printed


@pytest.mark.fault(
    injection="a stored loss is moved by 1e-15 and the record forged to fit",
    symptom="replay says EQUAL",
    expected="error says DIFFERENT and from which step",
)
def test_a_tampered_curve_of_a_control_is_found_and_its_step_named(copied: SweepStore, tmp_path: Path, capsys) -> None:
    record = of_arm(copied, mask_weight=0.0)
    points = metrics_from_table(from_parquet(copied.open_file(record.trial_id, "metrics.parquet")))
    moved = [
        p.model_copy(update={"value": p.value * (1 + 1e-15)}) if (p.step, p.name) == (3, "loss") else p for p in points
    ]
    assert moved != points
    data = to_parquet(metrics_table(moved))
    path = f"attempts/{record.trial_id}/{record.attempt}/metrics.parquet"
    copied.backend.replace(path, data)
    with pytest.raises(StoreError, match="altered"):  # as long as the record tells the truth
        replay.replay(copied, record, cache=tmp_path)
    entry = FileEntry(sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
    group = record.provenance.model_copy(update={"numerics": record.provenance.numerics | {"world_size": 2}})
    forged = record.model_copy(update={"files": record.files | {"metrics.parquet": entry}, "provenance": group})
    copied.backend.replace(f"records/{record.trial_id}.json", forged.to_json())
    flags = ("--store", copied.uri, "--cache", str(tmp_path), "--steps", "3", "--trust")
    assert swimlab("replay", record.trial_id[:9], *flags) == 1
    printed = capsys.readouterr().out
    assert "DIFFERENT from step 3 of 4: loss was" in printed
    assert "the 2 steps before it are equal" in printed
    before, _, after = printed.partition("DIFFERENT")
    assert "numerics class differs: world_size 2 then, 1 now" in before
    assert "that is to be expected, for the numerics class differs (world_size)" in after


def test_what_runs_is_the_stored_code(copied: SweepStore, tmp_path: Path) -> None:
    record = of_arm(copied, mask_weight=1.0, fusion="max")
    result = replay.replay(copied, with_light_training(copied, record), cache=tmp_path)
    assert not result.equal
    assert result.first[:2] == (1, "lr")
    assert result.first[3] == -1.0 != result.first[2]
    assert result.compared_steps == 2
    assert not result.numerics


@pytest.mark.fault(
    injection="code of the store looks for keys in its environment", symptom="it gets AWS and OpenAI keys",
    expected="right: it runs without", reference="F17",
)  # fmt: skip
def test_what_runs_gets_no_credentials(copied: SweepStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "OPENAI_API_KEY", "HF_TOKEN", "HTTPS_PROXY", "SWIMLAB_STORE", "DB_PASSWORD"):
        monkeypatch.setenv(name, "hush-hush")
    monkeypatch.setenv("MKL_CBWR", "COMPATIBLE")
    looks = b"""
import os, sys
everything = [f"{name}={value}" for name, value in os.environ.items()]
raise SystemExit(repr((everything, os.listdir(os.path.expanduser("~")), sys.stdin.read(), os.getsid(0) == os.getpid())))
"""
    record = of_arm(copied, mask_weight=0.0)
    with pytest.raises(ReplayError) as caught:
        replay.replay(copied, with_light_training(copied, record, looks), steps=2, cache=tmp_path)
    assert "hush-hush" not in str(caught.value)
    assert "MKL_CBWR=COMPATIBLE" in str(caught.value)
    assert str(caught.value).endswith("[], '', True)")


def test_the_environment_keeps_what_numbers_and_models_need() -> None:
    ours = {"PATH": "/bin", "HF_HOME": "/models", "HF_TOKEN": "x", "CUDA_VISIBLE_DEVICES": "1", "HOME": "/root"}
    theirs = environment(Path("/source"), Path("/home"), ours)
    assert theirs.items() >= {"PATH": "/bin", "HF_HUB_CACHE": "/models/hub", "CUDA_VISIBLE_DEVICES": "1"}.items()
    assert (theirs["HOME"], theirs["PYTHONPATH"]) == ("/home", "/source")
    assert not theirs.keys() & {"HF_HOME", "HF_TOKEN"}


@pytest.mark.parametrize("pinned", [True, False])
@pytest.mark.parametrize(
    ("path", "addition"),
    [
        ("swim/train.py", b"\nprint('altered')\n"),
        ("swim/recipe.py", b"\nprint('altered')\n"),
        ("swim/sitecustomize.py", b"print('altered')\n"),
        ("swim/train.py", b"\ndef more(x: print('altered')) -> None: ...\n"),
        ("swim/train.py", b"# a comment\n"),
    ],
    ids=["code", "schema", "another file", "annotation of a new function", "comment"],
)
def test_another_archive_than_the_records_is_not_unpacked(
    path: str, addition: bytes, pinned: bool, copied: SweepStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = of_arm(copied, mask_weight=1.0, fusion="mean")
    assert record.provenance.source_sha256 == archive_digest(copied, record.code_fingerprint)
    if not pinned:
        older = record.provenance.model_copy(update={"source_sha256": None})
        record = record.model_copy(update={"provenance": older})
    files = members(copied.read(code_path(record.code_fingerprint)))
    files[path] = files.get(path, b"") + addition
    packed = source_archive.archive(SourceFile(name, data, "") for name, data in files.items())
    copied.backend.replace(code_path(record.code_fingerprint), packed)
    monkeypatch.setattr(replay.StoredSource, "unpack", lambda *_: pytest.fail("unpacked"))
    if not pinned and addition == b"# a comment\n":  # no fingerprint covers those
        with pytest.raises(pytest.fail.Exception, match="unpacked"):
            replay.replay(copied, record, cache=tmp_path)
        return
    with pytest.raises(StoreError, match=rf"{record.code_fingerprint}\.tar\.gz is not the source that trial"):
        replay.replay(copied, record, cache=tmp_path)


@pytest.mark.fault(
    injection="a byte of a stored clip changes before a replay",
    symptom="the replay differs and blames the trial",
    expected="error names the shard",
)
def test_an_altered_clip_is_named(copied: SweepStore, tmp_path: Path) -> None:
    record = of_arm(copied, mask_weight=1.0, fusion="mean")
    for path in copied.list_files("clips"):
        if "/train/part-" in path:
            copied.backend.replace(path, copied.read(path)[:-1] + b"?")
    with pytest.raises(StoreError, match=r"train/part-.*not what was committed"):
        replay.replay(copied, with_light_training(copied, record), cache=tmp_path)


@pytest.mark.fault(
    injection="the source archive of a trial was deleted",
    symptom="today's code runs in its place",
    expected="error says that the trial is without its code",
)
def test_what_is_gone_is_named(copied: SweepStore, tmp_path: Path) -> None:
    record = of_arm(copied, mask_weight=1.0, fusion="mean")
    copied.backend.delete(f"code/{record.code_fingerprint}.tar.gz")
    with pytest.raises(StoreError, match="without its code"):
        replay.replay(copied, record, cache=tmp_path)


@pytest.mark.fault(
    injection="annotations changed since the trial",
    symptom="the replay trains on other rows",
    expected="error names the file",
)
def test_other_files_than_the_trial_saw_are_refused(tmp_path: Path, trial_record) -> None:
    rows = tmp_path / "rows.json"
    rows.write_text("[]")
    data = NLReferFiles(annotations=(str(rows),), videos=str(tmp_path)).model_dump(mode="json")
    record = trial_record(recipe={"data": data, "model": {"kind": "tiny"}}, data_fingerprint="other")
    store = SweepStore(str(tmp_path / "store"))
    with pytest.raises(ValueError, match=r"rows\.json .*record says other: bring those back"):
        replay._prepared(store, record, SOURCE_ROOT, tmp_path / "cache", print)


def test_a_recipe_is_read_by_what_was_archived(trial_record) -> None:
    from swim.recipes import tiny

    stored = tiny().override({"objective.mask_weight": 0.0, "objective.layers": "even:2"}).training()
    plain = replay.runnable(stored)
    assert plain["objective"] == {"text_weight": 0.05, "mask_weight": 0.0, "layers": [1, 3]}
    assert plain["evaluation"] == {}  # its archive holds no suite to configure
    assert plain["init"] is None
    assert stored["init"] is not None
    # A field that came after the archive, with its default: the archived schema would refuse it.
    with pytest.MonkeyPatch.context() as patch:
        optim = canonical._ALWAYS["Optim"].replace(" clip_norm", "")
        patch.setitem(canonical._ALWAYS, "Optim", optim)
        assert set(plain["optim"]) - set(replay.runnable(stored)["optim"]) == {"clip_norm"}
    # A record that was written before suites were registered configures the evaluation in its recipe.
    older = replay.runnable(stored | {"evaluation": {"readout": {"layers": "first:1"}, "overlays": 4}})
    assert older["evaluation"] == {"readout": {"layers": [0]}, "overlays": 4}
