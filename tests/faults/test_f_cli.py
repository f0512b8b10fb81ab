"""What commands do with addresses, rows and archives that are not what they seem."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from fault_kit import Command
from fault_table import fault
from store_kit import committed, plausible_record

import nano
from swim.data.annotations.samples import parse_row
from swim.data.rows.read import read_rows
from swim.data.types import DataError
from swimlab.store.sweep_store import SweepStore


@fault("SWIMLAB_STORE is set and empty", "the current folder is taken for the store", "error says so", "F20")
def test_an_empty_variable_is_no_store(swimlab: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    committed(SweepStore(str(tmp_path)), plausible_record)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SWIMLAB_STORE", "")
    code, printed = swimlab("ls")
    assert code != 0
    assert "empty name" in printed, printed


@fault("a file:// address holds %20 and %23", "another folder is opened", "right: it is decoded", "F20")
def test_a_file_address_is_decoded(swimlab: Command, tmp_path: Path) -> None:
    committed(SweepStore(str(tmp_path / "my store#1")), plausible_record)
    code, printed = swimlab("ls", "--store", f"file://{tmp_path}/my%20store%231")
    assert (code, "1 trials" in printed) == (0, True), printed


@fault("a file:// address holds a bare #", "what follows it is cut off", "error says how to write it", "F20")
def test_a_file_address_is_not_cut(swimlab: Command, tmp_path: Path) -> None:
    committed(SweepStore(str(tmp_path / "my")), plausible_record)
    code, printed = swimlab("ls", "--store", f"file://{tmp_path}/my#1")
    assert (code, "%23" in printed) == (1, True), printed


MASK = '{"segmentation": {"size": [64, 64], "counts": [100, 50, 3946]}}'
ROW = (
    '{"id": "a", "video": "0.mp4", "conversations": [{"from": "human", "value": "The <ins>dog</ins>?"}, '
    f'{{"from": "gpt", "value": "It runs."}}], "annotation": [{{"5": {MASK}}}]}}'
)


def twice(text: str, key: str, other: str) -> str:
    assert f'"{key}": ' in text
    return text.replace(f'"{key}": ', f'"{key}": {other}, "{key}": ', 1)


@pytest.mark.parametrize("ending", ["json", "jsonl"])
@pytest.mark.parametrize(("key", "other"), [("id", '"b"'), ("5", "null"), ("segmentation", "null"), ("value", '"x"')])
@fault("a key of a JSON row is there twice", "the last value wins in silence", "error: the row is set aside", "F20")
def test_no_value_of_a_row_is_dropped_in_silence(tmp_path: Path, ending: str, key: str, other: str) -> None:
    good, bad = ROW, twice(ROW, key, other)
    file = tmp_path / f"rows.{ending}"
    file.write_text("\n".join([good, bad]) if ending == "jsonl" else f"[{good}, {bad}]")
    (_, first), (_, second) = read_rows(file)
    assert parse_row(first, file=str(file), row=0).key
    with pytest.raises(DataError, match=r"rows\.json.* row 1 "):
        parse_row(second, file=str(file), row=1)


def archive(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=tarfile.GNU_FORMAT) as tar:
        for info, data in members:
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def member(name: str, kind: bytes = tarfile.REGTYPE, to: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return info


def past_the_longest_path(outside: Path) -> bytes:
    """Links whose real path is longer than the system resolves, behind which tarfile's filter "data" of older Pythons
    no longer sees where a link leads (CVE-2025-4517)."""
    long, steps, at = "d" * 247, "abcdefghijklmnop", "swim"
    members = [(member("swim", tarfile.DIRTYPE), b"")]
    for step in steps:
        members += [
            (member(f"{at}/{long}", tarfile.DIRTYPE), b""),
            (member(f"{at}/{step}", tarfile.SYMTYPE, long), b""),
        ]
        at += f"/{long}"
    short = "swim/" + "/".join(steps) + "/" + "l" * 254
    members.append((member(short, tarfile.SYMTYPE, "../" * len(steps)), b""))
    members.append(
        (member("swim/escape", tarfile.SYMTYPE, f"{short.removeprefix('swim/')}/{'../' * 40}{outside}"), b"")
    )
    members.append((member("swim/escape/pwned"), b"pwned"))
    return archive(*members)


def bomb(outside: Path) -> bytes:
    return archive((member("swim/a.txt"), bytes(200_000_000)))


def foreign_code(outside: Path) -> bytes:
    code = f"open({str(outside / 'pwned')!r}, 'w').close()".encode()
    return archive((member("swim/__init__.py"), code), (member("swim/train.py"), code))


ARCHIVES = [
    pytest.param(past_the_longest_path, "no regular file", id="link", marks=fault(
        "code/*.tar.gz holds links past the longest path", "replay writes outside its folder", "error names it", "F17"
    )),
    pytest.param(bomb, "larger than", id="bomb", marks=fault(
        "code/*.tar.gz unpacks to 200 MB", "replay fills the disk", "error says the bound", "F17"
    )),
    pytest.param(foreign_code, "not the source that trial", id="foreign", marks=fault(
        "code/*.tar.gz is of other code than the trial's", "replay runs it", "error: not the trial's source", "F17"
    )),
]  # fmt: skip


@pytest.mark.parametrize(("make", "says"), ARCHIVES)
def test_replay_refuses_an_archive_that_is_not_the_trials(
    swimlab: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], bytes], says: str
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    store = SweepStore(str(tmp_path / "store"))
    recipe = nano.recipe(base=False).model_dump(mode="json")
    committed(store, plausible_record, "t1", recipe=recipe, code_fingerprint="c" * 40)
    store.backend.create(f"code/{'c' * 40}.tar.gz", make(outside))
    before = sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file())
    code, printed = swimlab("replay", "t1", "--trust", "--store", store.uri, "--cache", str(tmp_path / "cache"))
    assert list(outside.iterdir()) == []
    assert (code, says in printed) == (1, True), printed
    assert sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file()) < before + 1_000_000


@pytest.mark.parametrize("text", ["2026-01-01T00:00:00", "yesterday"])
@fault("a record's time has no zone, or is none", "TypeError in ls and show, or local time", "right", "")
def test_a_time_without_a_zone_is_utc(swimlab: Command, tmp_path: Path, text: str) -> None:
    about = plausible_record().provenance.model_copy(update={"started_at": text, "finished_at": text})
    recipe = nano.recipe(base=False).model_dump(mode="json")
    committed(SweepStore(str(tmp_path)), plausible_record, "t1", recipe=recipe, provenance=about)
    for argv in (("ls",), ("show", "t1"), ("watch", "--once")):
        code, printed = swimlab(*argv, "--store", str(tmp_path))
        assert (code, "Error" in printed) == (0, False), printed
    code, printed = swimlab("ls", "--columns", "finished_at", "--store", str(tmp_path))
    assert (" d ago" in printed) if "T" in text else ("yesterday" in printed)
