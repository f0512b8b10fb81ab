"""What the commands about a store say: on real nano trials, and on stores that are none."""

import io
import json
import shutil
import sys
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from pyarrow import csv
from store_kit import all_results, committed, ended_owner

from swim.recipe import Recipe
from swim.recipes import TINY_LAYERS
from swimlab import __main__
from swimlab.base.screen import screen
from swimlab.experiment.run_settings import Settings
from swimlab.store import query
from swimlab.store.query import Condition
from swimlab.store.snapshot import leaderboard
from swimlab.store.sweep_store import StoreError, SweepStore


@pytest.fixture
def say(trained_store: SweepStore, capsys: pytest.CaptureFixture[str]):
    """The screen of a command on the trained store, 100 columns wide."""

    def run(*argv: str, code: int = 0, store: str = trained_store.uri) -> str:
        with pytest.raises(SystemExit) as ended:
            __main__.main([*argv, "--store", store])
        printed = capsys.readouterr().out
        assert (ended.value.code or 0) == code, printed
        return printed

    return run


def arms(store: SweepStore) -> dict[str, str]:
    """arm → trial id"""
    return {at.arm: trial_id for trial_id, shown in query.arms_by_trial(store).items() for at in shown}


def test_ls_is_a_leaderboard(say, trained_store: SweepStore) -> None:
    everything = say("ls")
    assert "4 trials" in everything
    assert "nano-base" in everything
    assert max(map(len, everything.splitlines())) <= 100 + len(trained_store.uri)
    sorted_by = say("ls", "--experiment", "nano", "--sort", "attention.ap")
    board = {row["trial_id"]: row["attention.ap"] for row in leaderboard(trained_store).to_pylist()}
    best_first = sorted(arms(trained_store).values(), key=lambda t: -board[t])
    listed = [line.split()[0] for line in sorted_by.splitlines() if line.strip()[:8] in {t[:8] for t in board}]
    assert listed == [t[:8] for t in best_first]
    chosen = say("ls", "--where", "objective.fusion=max", "--where", "objective.layers=[1,2]", "--where", "seed=0")
    assert "1 of 4 trials" in chosen
    assert arms(trained_store)["pool"][:8] in chosen
    assert "2 of 4 trials" in say("ls", "--where", "objective.mask_weight=0")
    assert "the first 2 shown" in say("ls", "--limit", "2")


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--sort", "ap"), "--sort ap: no trial has such a column; the nearest is 'attention.ap'"),
        (("--where", "objective.fussion=mean"), "the nearest is 'objective.fusion'"),
        (("--where", "objective.fusion"), "is not a condition"),
        (("--where", "objective.fusion<mean"), "holds text; use = or !="),
        (("--where", "attention.ap>high"), "holds numbers"),
        (("--experiment", "nanno"), "the nearest is 'nano'"),
    ],
)
def test_a_typo_names_the_nearest(say, flags: tuple[str, ...], says: str) -> None:
    assert says in say("ls", *flags, code=1)


def test_conditions_hold_for_numbers_text_lists_and_truth() -> None:
    def holds(text: str, value: object) -> bool:
        return Condition.parsed(text).holds(value)

    assert holds("a<=0.5", 0.5)
    assert not holds("a<0.5", 0.5)
    assert holds("a=1", 1.0)
    assert not holds("a=mean", 1.0)
    assert holds("a!=mean", "max")
    assert holds("a=[1,2]", "[1, 2]")
    assert holds("a=true", True)
    assert not holds("a=1", None)
    assert holds("a!=1", None)


def test_show_has_it_all_on_one_screen(say, trained_store: SweepStore) -> None:
    ids, records = arms(trained_store), all_results(trained_store)
    screen = say("show", ids["pool"][:7])
    assert len(screen.splitlines()) < 50
    record = records[ids["pool"]]
    assert f"trial {ids['pool']}" in screen
    assert "nano on nano as pool, seed 0" in screen
    assert "objective.fusion max" in screen
    assert "blind_answers" not in screen
    assert "of answers by size and look" in screen
    assert f"{record.metrics['answer.loss']:.3f}" in screen
    assert record.init_trial_id in screen
    assert "1  committed" in screen
    assert f"{record.cost.tokens_per_s:,.0f} tokens/s, " in screen
    base = say("show", record.init_trial_id)
    assert all(ids[arm][:12] in base for arm in ("swim", "pool", "control"))
    shown = json.loads(say("show", ids["pool"], "--recipe"))
    (evaluation,) = record.evaluations
    assert shown == record.recipe | {"evaluation": {"attention": evaluation.config}}
    assert Recipe.model_validate(shown).evaluation["attention"].readout.layers == TINY_LAYERS
    assert f"attention {evaluation.evaluation_id[:12]}" in screen


def test_show_tells_failed_attempts(say, trained_store: SweepStore, tmp_path: Path) -> None:
    shutil.copytree(trained_store.uri, tmp_path / "store")
    store = SweepStore(str(tmp_path / "store"))
    attempt = store.claim("broken-one")
    with attempt.heartbeat():
        attempt.fail("Traceback…\nFloatingPointError: loss is nan at step 3", "FloatingPointError")
    screen = say("show", "broken", store=store.uri)
    assert "no result yet; the latest attempt: failed" in screen
    assert "FloatingPointError: loss is nan at step 3" in screen
    assert "Traceback" not in screen
    assert "Traceback" in say("show", "broken", "--errors", store=store.uri)
    assert "has no result yet" in say("why", "broken", arms(store)["swim"], code=1, store=store.uri)


def test_why_names_fields_and_modules(say, trained_store: SweepStore) -> None:
    ids = arms(trained_store)
    screen = " ".join(say("why", ids["swim"][:8], ids["pool"][:8]).split())
    assert (
        "They differ in objective.fusion and in modules swim.supervision.fusion.max and swim.supervision.fusion.mean."
        in screen
    )
    assert "same data" in screen
    assert "same class" in screen
    assert "def fuse" in say("why", ids["swim"], ids["pool"], "--diff")
    # Fields that mask_weight 0 makes inactive are not news.
    other = " ".join(say("why", ids["swim"], ids["control"]).split())
    assert "They differ in objective.mask_weight and in modules" in other
    assert "One trial: nothing differs." in say("why", ids["swim"], ids["swim"])


def test_why_and_show_name_processor_and_start(say, trained_store: SweepStore, tmp_path: Path) -> None:
    ids = arms(trained_store)
    record = trained_store.record(ids["swim"])
    screen = " ".join(say("show", ids["swim"]).split())
    assert f"start weights {record.start_weights}" in screen
    assert f"cpu_capability {record.provenance.numerics['cpu_capability']}" in screen
    assert "hash of weights" not in say("why", ids["swim"], ids["pool"])
    shutil.copytree(trained_store.uri, tmp_path / "store")
    copy = SweepStore(str(tmp_path / "store"))
    old = {name: v for name, v in record.provenance.numerics.items() if not name.startswith("cpu")}
    for start, says in (
        (None, "The start weights of one are not recorded"),
        ("0" * 64, "from different weights"),
    ):
        made = record.provenance.model_copy(update={"numerics": old})
        changed = record.model_copy(update={"start_weights": start, "provenance": made})
        copy.backend.replace(f"records/{ids['swim']}.json", changed.to_json())
        screen = " ".join(say("why", ids["swim"], ids["pool"], store=copy.uri).split())
        assert "hash of weights" in screen
        assert "numerics classes differ too (cpu_capability and cpu_model)" in screen
        assert says in screen


def test_a_prefix_must_be_one_trial(tmp_path: Path, trial_record) -> None:
    store = SweepStore(str(tmp_path))
    for trial_id in ("ab12", "ab34", "ab3"):
        committed(store, trial_record, trial_id)
    store.claim("zz9")
    assert query.resolve(store, "ab1") == "ab12"
    assert query.resolve(store, "ab3") == "ab3"  # whole, though another goes on from it
    assert query.resolve(store, "z") == "zz9"
    with pytest.raises(StoreError, match="begins 3 trials: ab12, ab3, ab34; give more letters"):
        query.resolve(store, "ab")
    for wrong in ("x", "../ab12", ""):
        with pytest.raises(StoreError, match="swimlab ls"):
            query.resolve(store, wrong)


@pytest.mark.fault(
    injection="a store is named that is none",
    symptom="an empty table",
    expected="error says that it is no store",
)
def test_what_is_no_store_says_so(say, tmp_path: Path) -> None:
    assert "is not there; name the sweep store with --store" in say("ls", code=1, store=str(tmp_path / "nowhere"))
    (tmp_path / "notes").mkdir()
    assert "not a sweep store" in say("watch", "--once", code=1, store=str(tmp_path))
    assert "gs:// has no create-only write here" in say("ls", code=1, store="gs://bucket")


@pytest.mark.fault(
    injection="no credentials for S3",
    symptom="a raw botocore error",
    expected="error names the variables",
)
def test_s3_says_what_is_missing(say, s3_store_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert f"there is no sweep store at {s3_store_uri}" in say("ls", code=1, store=s3_store_uri)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    assert "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in say("ls", code=1, store=s3_store_uri)


def test_gc_looks_and_deletes_only_when_told(
    say, trained_store: SweepStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    shutil.copytree(trained_store.uri, tmp_path / "store")
    store = SweepStore(str(tmp_path / "store"))
    assert "nothing to collect" in say("gc", store=store.uri)
    before = store.list_files("attempts")
    looked = say("gc", "--checkpoints", "bases", store=store.uri)
    assert "would be freed" in looked
    assert store.list_files("attempts") == before
    assert "freed" in say("gc", "--checkpoints", "bases", "--delete", store=store.uri)
    kept = {path.split("/")[1] for path in store.list_files("attempts") if "/checkpoint/" in path}
    assert kept == {r.init_trial_id for r in store.records().values()} - {None}
    left = tmp_path / "temporary" / "swimlab-train-x"
    left.mkdir()
    (left / "owner.json").write_text(ended_owner().model_dump_json())
    (left / "checkpoint").write_bytes(b"w" * 5000)
    looked = " ".join(say("gc", store=store.uri).split())
    assert "temporary folders of processes that were killed" in looked
    assert f"kB in {tmp_path}/temporary on this machine would be freed" in looked
    assert left.exists()
    assert "on this machine freed" in " ".join(say("gc", "--delete", store=store.uri).split())
    assert not left.exists()


@pytest.mark.parametrize("ending", ["csv", "parquet", "json"])
def test_export_writes_one_row_a_trial(say, trained_store: SweepStore, tmp_path: Path, ending: str) -> None:
    out = tmp_path / f"new/trials.{ending}"
    say("export", "--experiment", "nano", "--out", str(out))
    read = {
        "csv": lambda: csv.read_csv(out).to_pylist(),
        "parquet": lambda: pq.read_table(out).to_pylist(),
        "json": lambda: json.loads(out.read_text()),
    }[ending]()
    assert {row["arm"]: row["trial_id"] for row in read} == arms(trained_store)
    for row in read:
        assert row["attention.ap"] == all_results(trained_store)[row["trial_id"]].metrics["attention.ap"]


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ((), "--to file needs --out"),
        (("--out", "trials.xlsx"), "choose one of .csv, .parquet, .json"),
        (("--to", "mlflow"), "needs --tracking-uri"),
        (("--to", "tensorboard", "--tracking-uri", "x"), "--to tensorboard needs --out"),
    ],
)
def test_export_says_which_flags_go_together(say, flags: tuple[str, ...], says: str) -> None:
    assert says in say("export", *flags, code=1)


@pytest.mark.fault(
    injection="stdout takes latin-1 or ASCII only",
    symptom="UnicodeEncodeError, or the minus sign of a number is lost",
    expected="right: signs stay, the rest becomes ?",
)
@pytest.mark.parametrize(("encoding", "printed"), [("latin-1", "-0.063 ± 0.002"), ("ascii", "-0.063 +- 0.002")])
def test_any_stdout_takes_every_text(
    encoding: str, printed: str, trained_store: SweepStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sign is never lost, and text is not taken for markup."""
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    with pytest.raises(SystemExit) as ended:
        __main__.main(
            ["why", arms(trained_store)["swim"], arms(trained_store)["control"], "--store", trained_store.uri]
        )
    screen().print("−0.063 ± 0.002 – 視 [bold]x[/bold] [/] :x:")
    sys.stdout.flush()
    assert not ended.value.code
    assert raw.getvalue().decode(encoding).endswith(f"{printed} - ? [bold]x[/bold] [/] :x:\n")


@pytest.mark.fault(
    injection="HOME is no folder",
    symptom="a raw traceback",
    expected="right: another cache, named in one line",
)
def test_a_home_that_cannot_be_written_costs_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Settings().cache == tmp_path / ".cache" / "swimlab"
    assert capsys.readouterr().err == ""
    monkeypatch.setenv("HOME", "/dev/null")
    cache = Settings().cache
    assert cache.parent == Path(tempfile.gettempdir())
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("~/.cache/swimlab cannot be used ([Errno 20] Not a directory")
    assert line.endswith(f"using {cache}; to choose, set SWIMLAB_CACHE (or --cache)")
    assert Settings(cache=tmp_path / "mine").cache == tmp_path / "mine"
