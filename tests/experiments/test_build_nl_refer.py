"""The builder as a user runs it: flags, plan, smoke, report; killed and started again."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from llm_server import KEY, Model, Reply, oracle

from swim.data.nl_refer import reference_rows
from swim.data.rows.read import read_rows
from swimlab.cli import experiment_file

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
sys.path.insert(0, str(EXPERIMENTS))

import build_nl_refer  # noqa: E402

ROWS = [one.raw for one in reference_rows.rows(10, seed=5)]
# Scripts and job specs name these: adding one is fine, renaming or removing one breaks somebody.
FLAGS = {
    "command", "annotations", "out", "videos", "kind", "rewriter", "synonyms", "least_share", "tokenizer", "model",
    "base_url", "structured", "params", "timeout_s", "retries", "reasks", "requests_per_minute", "tokens_per_minute",
    "concurrency", "price_in", "price_out", "max_cost", "workers", "rows_per_part", "store", "run_id",
}  # fmt: skip


@pytest.fixture
def key(two_cpus: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver knows it too."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.fixture
def annotations(tmp_path: Path) -> str:
    path = tmp_path / "videorefer.json"
    path.write_text(json.dumps(ROWS))
    return str(path)


def settings(*argv: Any) -> build_nl_refer.BuildSettings:
    return experiment_file.settings(build_nl_refer.BuildSettings, [str(arg) for arg in argv])


def asking(model: Model, annotations: str, folder: Path, *more: Any) -> tuple[Any, ...]:
    endpoint = ("--rewriter", "endpoint", "--model", "m", "--base-url", model.url, "--price-in", 1, "--price-out", 10)
    files = ("--annotations", annotations, "--out", folder / "out.jsonl", "--store", folder / "store")
    return ("--workers", 1, "--rows-per-part", 10, "--concurrency", 4, *endpoint, *files, *more)


def summaries(store: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(store.glob("reports/build_nl_refer/*/summary.json"))]


def test_the_flags_are_frozen() -> None:
    assert set(build_nl_refer.BuildSettings.model_fields) == FLAGS


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        ([], "--annotations"),
        (["--annotations", "a.json"], "--out"),
        (["smoke", "--rewriter", "endpoint"], "--model"),
        (["smoke", "--max-cost", "5"], "--price-in"),
        (["smoke", "--least-share", "2"], "least-share"),
        (["smoke", "--rewriter", "endpoint", "--model", "m", "--base-url", "https://me:secret@host/v1"], "credentials"),
        (["smoke", "--rewriter", "endpoint", "--model", "m", "--params", '{"n": 2}'], "cannot be set"),
        (["smoke", "--api-key", "sk-1"], "api"),
    ],
)
def test_a_mistake_exits_with_2_and_says_which(argv: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        settings(*argv)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert named in error
    assert "secret" not in error


def test_an_unlimited_answer_has_no_price(capsys: pytest.CaptureFixture[str]) -> None:
    priced = ("--max-cost", "5", "--price-in", "1", "--price-out", "2", "--rewriter", "endpoint", "--model", "m")
    assert settings("smoke", *priced).rewriting_config.endpoint.prices.completion == 2
    with pytest.raises(SystemExit):
        settings("smoke", *priced, "--params", '{"temperature": 0}')
    assert "max_tokens" in capsys.readouterr().err


def test_a_missing_key_is_refused_before_any_work(
    annotations: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with Model() as model:
        far = asking(model, annotations, tmp_path, "--base-url", "https://api.openai.com/v1")
        assert build_nl_refer.main(settings(*far)) == 1
    assert "set OPENAI_API_KEY in the environment" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["videorefer.json"]


@pytest.mark.ray
def test_the_smoke_counts_errors_and_its_report_can_be_read_again(
    key: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(build_nl_refer, "SMOKE_CLIPS", 6)
    assert build_nl_refer.main(settings("smoke", "--store", tmp_path, "--workers", 1, "--rows-per-part", 12)) == 0
    printed = capsys.readouterr().out
    assert "smoke: distinct: 100% rewritten, 0.0% wrong: ok" in printed
    (built,) = summaries(tmp_path)
    counts = {group["group"]: group["counts"] for group in built["errors"]}
    assert counts["distinct"] == counts["twins"] == {"right": 18}
    assert counts["twins, told later"].get("ambiguous", 0) > 0
    assert sum(counts["twins, told later"].values()) == 6
    assert counts["two in one"] == {"rejected": 12}
    (report,) = (tmp_path / "reports" / "build_nl_refer").iterdir()
    assert {path.name for path in report.iterdir()} == {"summary.json", "rejected.jsonl", "report.md", "index.html"}
    assert len((report / "rejected.jsonl").read_text().splitlines()) == 6
    page, text = (report / "index.html").read_text(), (report / "report.md").read_text()
    for word in ("ambiguous", "<mark>lemon</mark>", "&lt;region&gt;"):
        assert word in page
    assert "| twins |" in text

    (report / "index.html").unlink()
    assert build_nl_refer.main(settings("report", "--store", tmp_path)) == 0
    assert (report / "index.html").read_text() == page
    assert build_nl_refer.main(settings("report", "--store", tmp_path / "empty")) == 1
    assert "run it first" in capsys.readouterr().out


def test_rules_that_miss_fail_the_smoke(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    from swimlab.data.rewriting.run_record import Built, Errors
    from swimlab.store import provenance

    came = provenance.gather(numerics={"device": "cpu", "dtype": "-", "world_size": 1}, started_at="s", finished_at="f")
    about = {"run_id": "r", "command": "smoke", "settings": {"rewriter": "rules"}, "provenance": came, "wall_s": 1.0}

    def code(**counts: int) -> int:
        errors = (Errors(group="twins", counts={name.replace("_", " "): count for name, count in counts.items()}),)
        return build_nl_refer.smoke_verdict(Built(**about, outputs={}, tally={}, errors=errors), Console())

    assert code(right=96, rejected=4) == 0
    assert code(right=94, rejected=6) == 1
    assert code(right=98, wrong_noun=2) == 1
    assert "BROKEN" in capsys.readouterr().out


@pytest.mark.ray
def test_a_plan_asks_nothing_and_a_run_counts_what_it_asked(
    key: None, annotations: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Model() as model:
        argv = asking(model, annotations, tmp_path)
        assert build_nl_refer.main(settings("plan", *argv, "--requests-per-minute", "30")) == 0
        assert model.asked == {}
        printed = capsys.readouterr().out
        assert re.search(rf"requests to send +│ {len(ROWS)} ", printed)
        assert "1.3 min" in printed
        assert not (tmp_path / "store").exists()
        seen: set[str] = set()
        for run in ("first", "second"):
            assert build_nl_refer.main(settings(*argv)) == 0
            (built,) = (one for one in summaries(tmp_path / "store") if one["run_id"] not in seen)
            seen.add(built["run_id"])
            asked, paid = built["tally"]["asked"], len(model.asked) if run == "first" else 0
            assert (asked["paid"], asked["paid"] + asked["cached"]) == (paid, len(ROWS))
            assert built["spent"] == pytest.approx(paid * (100 + 20 * 10) / 1e6)
            assert built["estimate"]["requests"] == (len(ROWS) if paid else 0)
        assert built["expected"] == 0
        assert set(model.asked.values()) == {1}
    assert [row["id"] for _, row in read_rows(tmp_path / "out.jsonl")] == [row["id"] for row in ROWS]
    assert (tmp_path / "out.jsonl.rejected.jsonl").read_bytes() == b""


def start(argv: tuple[Any, ...]) -> subprocess.Popen[str]:
    line = [sys.executable, str(EXPERIMENTS / "build_nl_refer.py"), *map(str, argv)]
    variables = os.environ | {"OPENAI_API_KEY": KEY, "RAY_ADDRESS": "local"}
    return subprocess.Popen(line, env=variables, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def until(model: Model, answers: int, process: subprocess.Popen[str]) -> None:
    while sum(model.answered.values()) < answers:
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.02)


def stored(folder: Path) -> set[str]:
    return {json.dumps(json.loads(p.read_text())["request"]["messages"]) for p in folder.glob("store/answers/*/*.json")}


def at_rest(model: Model) -> None:
    """Waits until nobody asks any more: workers of a driver that was killed may finish what they had in hand."""
    before = -1
    while model.at_once or before != sum(model.asked.values()):
        before = sum(model.asked.values())
        time.sleep(0.5)


@pytest.mark.fault(
    injection="kill -9 of a rewriting run",
    symptom="paid answers are asked for again; half a file is left",
    expected="right: goes on from what was stored",
)
@pytest.mark.ray
@pytest.mark.slow
def test_a_killed_run_goes_on_and_asks_nothing_twice(
    key: None, annotations: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Model(lambda body, n: Reply(oracle(body), wait_s=0.1)) as model:
        argv = asking(model, annotations, tmp_path)
        killed = start(argv)
        until(model, 14, killed)
        killed.kill()
        printed = killed.communicate()[0]
        at_rest(model)
        kept = stored(tmp_path)
        lost = set(model.asked) - kept
        assert 14 <= len(kept) < len(ROWS)
        assert len(lost) <= 4  # those that were under way
        assert not (tmp_path / "out.jsonl").exists()

        assert build_nl_refer.main(settings(*argv)) == 0
        printed += capsys.readouterr().out
        assert {name for name, count in model.asked.items() if count > 1} <= lost
        assert len(model.asked) == len(ROWS)
    assert [row["id"] for _, row in read_rows(tmp_path / "out.jsonl")] == [row["id"] for row in ROWS]
    assert not (tmp_path / "out.jsonl.partial").exists()
    assert KEY not in printed
    assert [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()] == []


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def stop(*_: Any) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(build_nl_refer, "command", stop)
    assert build_nl_refer.main(settings("smoke")) == 130
    assert "the same command goes on" in capsys.readouterr().out
