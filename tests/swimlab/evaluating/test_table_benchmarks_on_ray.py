"""A table of two benchmarks from nothing: planned, trained through Ray, asked, judged by a local server, reported."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import bench_files
import pytest
from bench_lab import judging
from llm_server import Model
from test_table_benchmarks import BOTH

import nano
from swimlab.cli import experiment_file
from swimlab.experiment.run_settings import Settings
from swimlab.store.sweep_store import SweepStore

TABLE = dataclasses.replace(BOTH, seeds=(0,))


@pytest.mark.slow
@pytest.mark.ray
def test_a_table_of_two_benchmarks_end_to_end(
    two_cpus: None, checked_code: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    descriptions, choices = bench_files.write(tmp_path, 4)

    def shown(command: str, url: str, **flags: Any) -> str:
        settings = Settings(
            command=command,
            store=str(tmp_path / "store"),
            cache=checked_code,
            bench_d=descriptions.annotations[0],
            bench_q=choices.annotations[0],
            bench_videos=str(tmp_path),
            judge_url=url,
            price_in=2.5,
            price_out=10.0,
            **{"judge": "judge-1"} | flags,
        )
        with pytest.raises(SystemExit) as ended:
            experiment_file.run([TABLE], settings, lambda: nano.recipe(base=False))
        text = capsys.readouterr().out
        assert ended.value.code == 0, text
        return text

    with Model(judging) as server:
        plan = shown("plan", server.url)
        assert re.search(r"benchmark +bench-d: 4 rows, .* 8 answers of 2 trials to generate", plan)
        assert re.search(r"benchmark +bench-q: 4 rows, .* 8 answers of 2 trials to generate", plan)
        assert re.search(r"judge judge-1: 8 requests \(0 stored\)", plan)
        text = shown("run", server.url)
        asked = sum(server.asked.values())
        plan = shown("plan", server.url)
        other = shown("plan", server.url, judge="judge-2")
        assert sum(server.asked.values()) == asked  # planning asks nothing
    for name in ("judge-1", "swim > control", "Claims over replicates and over rows"):
        assert name in text
    assert re.search(r"bench-d: .* 0 answers of 2 trials to generate", plan)
    # Of two trials that answered alike the judge was asked once, and a plan counts each trial's questions.
    stored = int(re.search(r"judge judge-1: 0 requests \((\d+) stored\)", plan)[1])  # type: ignore[index]
    assert asked <= stored <= 8
    assert re.search(r"bench-d: .* 0 answers of 2 trials to generate", other)
    assert re.search(rf"judge judge-2: {stored} requests \(0 stored\)", other)
    report = shown("report", server.url)
    assert "by judge-1" in report
    page = SweepStore(str(tmp_path / "store")).read("reports/bench/nano/index.html").decode()
    assert "bench-d by judge-1" in page  # what evaluated it, under provenance
