"""The arms that question a benchmark, on files made of the embedded data and a local judge."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import bench_lab
import duckdb
import pytest
from llm_server import Model

sys.path.insert(0, str(Path(__file__).parents[2] / "experiments"))

import leak
import synonyms
from swimlab.cli.benchmark_file import BenchmarkSettings
from synonyms import SynonymSettings


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    return bench_lab.flags(tmp_path, monkeypatch, 2)


def report(screen: str) -> str:
    (path,) = re.findall(r"report +(\S+)", screen)
    return Path(path).read_text().replace("\\_", "_")


def row(page: str, heading: str, first: str) -> list[str]:
    """The cells of a line of the page's table with this heading."""
    table = page.partition(f"## {heading}")[2].partition("\n## ")[0]
    (line,) = re.findall(rf"^\| {re.escape(first)} \|.*$", table, re.MULTILINE)
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_three_ways_of_asking_are_compared_row_by_row(lab: dict[str, Any]) -> None:
    rows = json.loads(Path(lab["bench_d"]).read_text())
    told = rows[0]["conversations"][0]
    words = [word for word in re.findall(r"\w+", rows[0]["caption"]) if word in ("large", "small", "plain", "striped")]
    told["value"] = told["value"].replace("the <ins>", f"the {words[0]} <ins>")  # a question that tells a word
    Path(lab["bench_d"]).write_text(json.dumps(rows))
    with Model(bench_lab.judging) as server:
        page = report(bench_lab.shown(leak, BenchmarkSettings(base_url=server.url, **lab | {"base": ()})))
    heading = "VideoRefer-Bench-D, judged by judge-1"
    scores = {arm: row(page, heading, arm) for arm in (f"swim, {p}" for p in ("text", "noun-only", "contour"))}
    assert all(re.fullmatch(r"\d\.\d\d", cells[5]) for cells in scores.values())
    (gap,) = re.findall(r"^\| swim, text &gt; swim, noun-only \| ([+−]\d\.\d\d)", page, re.MULTILINE)
    assert float(gap.replace("−", "-")) == pytest.approx(
        float(scores["swim, text"][5]) - float(scores["swim, noun-only"][5])
    )
    by_leak = "bench_d.avg by how much of the reference the question tells"
    for arm in ("swim, text", "swim, noun-only"):  # the same rows stand in a column
        none, quarter = row(page, by_leak, arm)[1:3]
        assert (none[-3:], quarter[-3:]) == ("(1)", "(1)")
    assert "| swim, contour &gt; swim, text |" in page.partition("Claims on bench_q.avg")[2]
    assert "noun-only" not in page.partition("## VideoRefer-Bench-Q")[2].partition("## VideoRefer-Bench-D")[0]
    assert "(paper)" not in page
    samples = f"read_parquet('{lab['store']}/tables/samples/*.parquet', union_by_name = true)"
    facts = [f"bench_d.{name} by judge-1" for name in ("cells", "on_object", "right", "leak", "avg")]
    counted = duckdb.sql(
        f"select metric, count(*) from {samples} where metric in {tuple(facts)} group by all"
    ).fetchall()
    assert dict(counted) == dict.fromkeys(facts, 3 * 2)  # three ways, two rows


def test_rows_with_synonyms_are_paired_with_the_published_ones(lab: dict[str, Any], tmp_path: Path) -> None:
    text = Path(lab["bench_d"]).read_text()
    file = tmp_path / "bench-d-synonym.json"
    file.write_text(re.sub("<ins>.*?</ins>", "<ins>cloud</ins>", text))
    flags = lab | {"base": (), "bench_q": None, "bench_d_synonyms": str(file)}
    with Model(bench_lab.judging) as server:
        page = report(bench_lab.shown(synonyms, SynonymSettings(base_url=server.url, **flags)))
    claim = row(page, "Claims on bench_d.avg", "swim\\* ≥ swim − 0.1")
    assert (claim[2], claim[3]) == ("2", "2")  # rows and videos, none without its pair
    assert row(page, "VideoRefer-Bench-D, judged by judge-1", "SWIM\\* (paper)")[-4] == "3.74"
    with pytest.raises(ValueError, match="--bench-d and --bench-d-synonyms are compared: name both"):
        SynonymSettings(**lab | {"bench_q": None})
