import dataclasses
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from swimlab import Ablation, Arm, Axis, Better, Metric, Paper, Trend
from swimlab.report import ablation_page, attention_maps, figure_data, figure_style, line_plots
from swimlab.report.cell_axis import axis
from swimlab.report.number_format import duration, number, p_value
from swimlab.report.summarise import summarise
from swimlab.store.errors import StoreError
from swimlab.store.published_tables import write_tables
from synthetic_results import committed, curve, overlay

HOSTILE = '<img src=x onerror="alert(1)">'


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    ablation = Ablation(
        name="fusion",
        question=f"Which {HOSTILE}?",
        arms=[
            *Axis("objective.fusion", {"mean": "mean", "pool": "max"}),
            Arm(HOSTILE, {"objective.mask_weight": 0}),
        ],
        seeds=(0, 1, 2),
        metrics=(
            Metric("bench_d.avg", standin={"tiny": "attention.ap"}, primary=True),
            Metric("answer.accuracy"),
        ),
        paper=Paper("Table 4", {"mean": 3.78}, claims=(Better("mean", "pool"),), notes=("3.78 and 3.81 <b>",)),
        reference=HOSTILE,
    )
    level = {"mean": 0.66, "pool": 0.6, HOSTILE: 0.13}
    return committed(
        ablation,
        tmp_path_factory.mktemp("store"),
        lambda arm, seed: {"attention.ap": level[arm] + 0.003 * seed, "answer.accuracy": 0.5 + 0.01 * seed},
        nouns=("lemon", f"plum{HOSTILE}"),
        failures={("pool", 2): f"worker died: {HOSTILE}"},
        quarantine={f"mask {HOSTILE}": 4},
    )


@pytest.fixture(scope="module")
def page(results):
    return ablation_page.write(results, summarise(results))["index.html"]


class Reader(HTMLParser):
    """Tags with their attributes, and the text between them."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.words, self.style = [], [], []
        self.feed(page)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        (self.style if self.tags and self.tags[-1][0] == "style" else self.words).append(data)


def test_hostile_names_arrive_as_text(page):
    read = Reader(page)
    assert not [attrs for tag, attrs in read.tags if tag == "script" or any(name.startswith("on") for name in attrs)]
    assert all(attrs["src"].startswith("data:image/png;base64,") for tag, attrs in read.tags if tag == "img")
    for text in (f"Which {HOSTILE}?", f"plum{HOSTILE}", f"worker died: {HOSTILE}", f"mask {HOSTILE}", "3.81 <b>"):
        assert text in read.text


def test_the_page_asks_nobody_for_anything(page):
    read = Reader(page)
    for tag, attrs in read.tags:
        assert tag not in ("link", "script", "iframe", "object", "base")
        for name in ("src", "href", "xlink:href", "srcset", "data", "action"):
            assert (attrs.get(name) or "#").startswith(("#", "data:")), (tag, attrs)
        assert "url(" not in (attrs.get("style") or "").replace("url(#", "")
    assert not re.search(r"@import|url\(\s*['\"]?[^#'\")]", "".join(read.style))


def test_every_row_claim_trial_and_picture_is_there(page, results):
    read = Reader(page)
    for trial in results.trials:
        assert trial.trial_id in read.text
    body = page[page.index('id="results"') : page.index('id="claims"')]
    assert body.count('<td class="arm">') == 3
    for text in (
        "mean > pool",
        "REPRODUCED",
        "direction only",
        "2/3",
        "A/A",
        "never about a 7B model",
        "recipe tiny-hard-look",
        "Each seed is a world of its own",
    ):
        assert text in read.text
    # Two nouns, each with the frame, the mask and three arms.
    assert sum(tag == "img" for tag, _ in read.tags) == 2 * 5
    for text in ("train.mask_loss", "train.text_loss", "c0de" * 8, "da7a" * 8, "import duckdb", results.store.uri):
        assert text in read.text
    # The schedule is the same in every trial: nothing to compare.
    assert "train.lr" not in read.text


def test_every_number_opens(page, results):
    read = Reader(page)
    opened = [attrs["popovertarget"] for tag, attrs in read.tags if tag == "button"]
    there = [attrs["id"] for tag, attrs in read.tags if "popover" in attrs]
    assert set(opened) == set(there)
    assert len(there) == len(set(there))
    # Three arms: two metrics and the cost each, two differences to the control, one claim, A/A.
    assert len(opened) == 3 * 3 + 2 + 2 * 1 + 1
    assert f"swimlab replay {results.trials[0].trial_id} --store {results.store.uri}" in read.text


def test_rendering_twice_gives_the_same_bytes(page, results):
    assert ablation_page.write(results, summarise(results))["index.html"] == page


def test_reports_are_written_into_the_store_and_overwritten(results):
    for _ in range(2):
        address = ablation_page.write_report(results, summarise(results))
        assert address == f"{results.store.uri}/reports/fusion/tiny-hard-look/index.html"
    assert b"Table 4" in results.store.read("reports/fusion/tiny-hard-look/index.html")
    assert results.store.list_files("reports/fusion/tiny-hard-look") == [
        "reports/fusion/tiny-hard-look/index.html",
        "reports/fusion/tiny-hard-look/report.md",
        "reports/fusion/tiny-hard-look/report.tex",
        "reports/fusion/tiny-hard-look/table.json",
    ]
    assert b"tiny-hard-look/index.html" in results.store.read("reports/index.html")


def test_the_snippet_reads_the_same_numbers(page, results, capsys):
    import duckdb  # noqa: F401  (the snippet needs it)
    import pyarrow as pa

    shown = {"experiment": "fusion", "recipe": results.recipe.name}
    rows = [shown | {"arm": t.arm, "seed": t.seed, "trial_id": t.trial_id} for t in results.trials]
    write_tables(results.store, pa.Table.from_pylist(rows))
    code = next(block for block in Reader(page).words if "import duckdb" in block)
    exec(code.replace(".show()", ".fetchall()").replace("duckdb.sql(", "found = duckdb.sql("), space := {})
    done = [t for t in results.trials if t.record]
    expected = sorted(
        (t.arm, t.seed, t.record.metrics["attention.ap"], t.record.metrics["answer.accuracy"]) for t in done
    )
    assert sorted(space["found"]) == expected


def test_an_ablation_that_never_ran_has_a_page_too(tmp_path, results):
    every = frozenset((t.arm, t.seed) for t in results.trials)
    nothing = committed(results.ablation, tmp_path, lambda arm, seed: {}, missing=every)
    read = Reader(ablation_page.write(nothing, summarise(nothing))["index.html"])
    assert "NOT RUN" in read.text
    assert "9 of 9 trials" in read.text
    assert "Learning curves" not in read.text


def test_the_a_a_row_stands_even_where_the_paper_claims_nothing(tmp_path, results):
    ablation = dataclasses.replace(results.ablation, paper=Paper(""))
    fresh = committed(ablation, tmp_path, lambda arm, seed: {"attention.ap": 0.5 + seed / 9, "answer.accuracy": 0.5})
    assert "A/A: mean" in Reader(ablation_page.write(fresh, summarise(fresh))["index.html"]).text


def test_arms_that_are_one_trial_say_so(tmp_path, results):
    fresh = committed(
        results.ablation,
        tmp_path,
        lambda arm, seed: {"attention.ap": 0.5 + seed / 9, "answer.accuracy": 0.5},
        nouns=(),
        steps=0,
        same={"pool": "mean"},
    )
    files = ablation_page.write(fresh, summarise(fresh))
    assert "= mean (one trial)" in Reader(files["index.html"]).text
    assert "nothing to compare" in Reader(files["index.html"]).text
    assert "6/6" in Reader(files["index.html"]).text
    assert "pool = mean" in files["report.tex"]


def test_a_trend_shows_its_curve_and_says_why_there_is_none(tmp_path):
    def named(seeds):
        return Ablation(
            name="data",
            arms=[Arm(f"{share}", {"data.fraction": share}) for share in (0.25, 0.5, 1.0)],
            seeds=seeds,
            metrics=(Metric("attention.ap", primary=True),),
            paper=Paper("Figure 4", claims=(Trend("fraction"),)),
        )

    def doubling(arm, seed):
        return {"attention.ap": 0.5 + 0.1 * np.log2(float(arm)) + 0.01 * seed}

    fitted = committed(named((0, 1)), tmp_path, doubling, nouns=(), steps=0)
    drawn = Reader(ablation_page.write(fitted, summarise(fitted))["index.html"])
    assert "Twice the data adds 0.1 [" in drawn.text
    assert "attention.ap along data.fraction" in drawn.text
    gap = frozenset({("0.5", 0), ("0.5", 1)})
    unfitted = committed(named((0, 1)), tmp_path / "gap", doubling, missing=gap, nouns=(), steps=0)
    bare = Reader(ablation_page.write(unfitted, summarise(unfitted))["index.html"])
    assert "No curve: a curve needs at least three amounts" in bare.text


@pytest.mark.fault(
    injection="a committed file that a page shows is damaged",
    symptom="the page has a gap that looks like no data",
    expected="error names the file",
)
def test_a_damaged_file_is_an_error_not_a_gap_in_the_page(tmp_path, results):
    fresh = committed(results.ablation, tmp_path, lambda arm, seed: {"attention.ap": 0.5, "answer.accuracy": 0.5})
    for file in tmp_path.rglob("overlays.parquet"):
        file.write_bytes(b"damaged")
    table = summarise(fresh)
    with pytest.raises(StoreError, match=r"overlays\.parquet"):
        ablation_page.write(fresh, table)


def test_mass_of_a_map_is_its_share_inside_the_mask():
    sharp, diffuse = overlay("lemon", 0.98, 0, 0), overlay("lemon", 0.05, 0, 0)
    (strip,) = attention_maps.strips({"sharp": [sharp], "diffuse": [diffuse]})
    assert (strip.noun, [panel.arm for panel in strip.panels]) == ("lemon", ["sharp", "diffuse"])
    assert strip.panels[0].mass > 2 * strip.panels[1].mass > 0
    inside = np.frombuffer(sharp.masks, np.uint8).reshape(2, 64, 64)[0].reshape(8, 8, 8, 8).mean((1, 3))
    map_HW = np.frombuffer(sharp.map, np.float32).reshape(2, 8, 8)[0]
    assert strip.panels[0].mass == pytest.approx(float((map_HW * inside).sum() / map_HW.sum()), rel=1e-4)
    blind = sharp.model_copy(update={"map": bytes(len(sharp.map))})
    assert attention_maps.strips({"blind": [blind]})[0].panels[0].mass is None


def test_only_nouns_that_every_arm_has_are_shown():
    lemon, plum = overlay("lemon", 0.5, 0, 0), overlay("plum", 0.5, 0, 1)
    assert [s.noun for s in attention_maps.strips({"a": [lemon, plum], "b": [plum]})] == ["plum"]
    assert attention_maps.strips({}) == []


def test_curves_draw_what_can_be_compared():
    points = {seed: [p for p in curve(90, 0.2, seed) if p.name == "train.mask_loss"] for seed in (0, 1)}
    curves = [
        figure_data.MetricCurve("$arm$", seed, "loss $x$", [p.step for p in ps], [p.value for p in ps])
        for seed, ps in points.items()
    ]
    svg = line_plots.learning_curves(curves, {"$arm$": "#0b6fa4"})
    assert svg.startswith("<svg")
    assert "loss $x$" in svg
    assert "#0b6fa4" in svg
    assert line_plots.learning_curves([curves[0], curves[0]], {"$arm$": "#0b6fa4"}) is None
    assert line_plots.learning_curves([], {}) is None


def test_smoothing_keeps_a_constant_and_its_ends():
    values_NT = np.full((2, 200), 3.0)
    assert np.allclose(line_plots._smooth(values_NT), 3.0)
    ramp_NT = np.arange(50.0)[None]
    assert np.array_equal(line_plots._smooth(ramp_NT), ramp_NT)


def test_colours_are_stable_and_the_control_is_grey():
    colours = figure_style.arm_colours(["a", "control", "b"], "control")
    assert colours["control"] == figure_style.REFERENCE_COLOUR
    assert colours["a"] != colours["b"]
    assert colours["a"] == figure_style.arm_colours(["a"], None)["a"]


def test_axis_holds_its_values_and_ticks():
    drawn = axis([0.1, 0.7], 100)
    assert 0 < drawn.x(0.1) < drawn.x(0.7) < 100
    assert all(0 <= drawn.x(tick) <= 100 for tick in drawn.ticks)
    assert axis([2.0, 2.0], 100).x(2.0) == 50
    assert axis([], 100) is None


def test_wording():
    assert [number(v) for v in (None, -0.0123, 12.345, 250.06)] == ["–", "−0.012", "12.35", "250.1"]
    assert number(0.5, signed=True) == "+0.500"
    assert [p_value(p) for p in (None, 0.0004, 0.0312, 1.0)] == ["–", "< .001", ".031", "1.000"]
    assert [duration(s) for s in (4.24, 42, 431, 9000)] == ["4.2 s", "42 s", "7.2 min", "2.5 h"]
