import html
import re

import pytest

from swimlab import Ablation, Above, Arm, Axis, Better, Metric, Paper, Trend
from swimlab.report import ablation_page, evidence
from swimlab.report.summarise import summarise
from swimlab.store.published_tables import write_tables
from synthetic_results import committed

ABLATION = Ablation(
    name="weights",
    arms=[
        Arm("base", {"optim.steps": 0}),
        *Axis("objective.mask_weight", {"0": 0, "o'ne": 1.0, "two": 2.0, "2": 2}),
    ],
    seeds=(0, 1, 2, 3),
    metrics=(Metric("attention.ap", primary=True), Metric('odd"name.of a metric')),
    paper=Paper(
        "T",
        claims=(
            Better("two", "0"),
            Trend("mask_weight", arms=("0", "o'ne", "two")),
            Above("o'ne", 0.25),
        ),
    ),
    reference="0",
)
LEVEL = {"base": 0.1, "0": 0.2, "o'ne": 0.4, "two": 0.5, "2": 0.5}


def values(arm, seed):
    return {"attention.ap": LEVEL[arm] + 0.01 * seed**2, 'odd"name.of a metric': seed - LEVEL[arm]}


def results(where):
    found = committed(
        ABLATION, where, values, same={"2": "two"}, seedless=("base",), missing=frozenset({("0", 3)}), nouns=(), steps=0
    )
    write_tables(found.store)
    return found


def expected(table):
    """Key → (n, mean, half-width) or the total, as the table shows it."""
    seen = {}
    for i, row in enumerate(table.rows):
        seen |= {("cell", i, j): cell.interval for j, cell in enumerate(row.cells)}
        seen["reference", i, 0] = row.over_reference
        seen["cost", i, 0] = row.wall_s
    seen |= {("claim", i, 0): claim.outcome.interval for i, claim in enumerate(table.claims)}
    seen["self-test", 0, 0] = table.self_test.interval
    return {key: value for key, value in seen.items() if value is not None}


def printed_query(page, evidence_id):
    """As a reader copies it from the page."""
    body = page[page.index(f'id="e-{evidence_id}"') :]
    return html.unescape(re.search(r"<pre>(-- .*?)</pre>", body, re.DOTALL)[1])


def check(found):
    table = summarise(found)
    citations = evidence.evidence_index(table)
    page = ablation_page.write(found, summarise(found))["index.html"]
    code = html.unescape(re.search(r"<pre>(import duckdb.*?)</pre>", page[page.index('id="evidence"') :], re.DOTALL)[1])
    wanted = expected(table)
    assert set(citations.numbers) == set(wanted)
    for key, number in citations.numbers.items():
        query = printed_query(page, number.id)
        space = {}
        runs = re.sub(r"(duck(db)?\.sql\()", r"row = \1", code).replace(".show()", ".fetchall()")
        exec(runs.replace('open("query.sql").read()', repr(query)), space)
        value = wanted[key]
        if key[0] == "cost":
            assert space["row"] == [pytest.approx((value,))]
        else:
            ((n, mean, half),) = space["row"]
            assert (n, mean) == (value.n, pytest.approx(value.mean, rel=1e-9, abs=1e-12))
            # Weights that nobody trained are one trial under every seed.
            assert (half is None) == (value.high is None) == (n == 1)
            assert half is None or half == pytest.approx(value.high - value.mean, rel=1e-9)


def test_every_query_computes_its_number_as_printed(tmp_path):
    check(results(tmp_path / "it's [a] store"))


def test_every_query_runs_on_s3_with_the_environment_of_every_aws_tool(s3_store_uri):
    check(results(s3_store_uri))


def test_an_id_is_of_trials_metric_and_statistic_alone(tmp_path):
    found = results(tmp_path)
    citations = evidence.evidence_index(summarise(found))
    ids = {key: number.id for key, number in citations.numbers.items()}
    names = [arm.name for arm in ABLATION.arms]
    two, twin = names.index("two"), names.index("2")
    # The same trials under another name, and the same difference as a claim and beside the control.
    assert ids["cell", two, 0] == ids["cell", twin, 0]
    assert ids["claim", 0, 0] == ids["reference", two, 0]
    assert ids["cell", two, 0] != ids["cell", two, 1]
    assert len({ids["cell", i, 0] for i in range(4)}) == 4
    assert all(re.fullmatch("[0-9a-f]{8}", one) for one in ids.values())
    (twins,) = [number for number in citations if number.id == ids["cell", two, 0]]
    assert twins.label == "two, attention.ap = 2, attention.ap"
    # Frozen: an id that is quoted somewhere must be found again.
    parts = (evidence.Contribution("a", 0, "t0", 0.5, 1.0, 0), evidence.Contribution("a", 1, "t1", 0.6, 1.0, 1))
    number = evidence.CitedNumber("a, attention.ap", "attention.ap", "mean", "0.55", parts)
    assert number.id == "c6dfd859"


@pytest.mark.fault(
    injection="a store's path with quotes, blanks and $ in a printed command",
    symptom="the shell runs something else",
    expected="right: quoted",
)
def test_a_replay_line_survives_a_shell(tmp_path):
    number = evidence.CitedNumber("n", "m", "mean", "1", (evidence.Contribution("a", 0, "t0", 1.0),))
    assert number.replay_commands("/my store/x") == ["swimlab replay t0 --store '/my store/x'"]
