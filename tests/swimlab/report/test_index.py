from html.parser import HTMLParser

import pytest

from swimlab import Ablation, Arm, Better, Metric, Paper
from swimlab.report import ablation_page, index_page, page_summaries
from swimlab.report.summarise import summarise
from synthetic_results import committed

HOSTILE = '<img src=x onerror="alert(1)">'
CLAIMS = (Better("a", "b"), Better("b", "c"))
GAIN = {"a": 0.6, "b": 0.3, "c": 0.3}


def named(name, title, seeds=(0, 1, 2), claims=CLAIMS):
    return Ablation(
        name=name,
        question=HOSTILE,
        arms=[Arm("a"), Arm("b", {"objective.fusion": "max"}), Arm("c", {"objective.mask_weight": 0})],
        seeds=seeds,
        metrics=(Metric("attention.ap"),),
        paper=Paper(title, {"a": 3.5}, claims=claims),
        reference="c",
    )


def noisy(arm, seed):
    return {"attention.ap": GAIN[arm] + (0.01, -0.02, 0.015)[seed] * (1 if arm == "b" else 2)}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    for ablation, recipe in (
        (named("ten", "Table 10"), None),
        (named("three", "Table 3"), None),
        (named("three", "Table 3", seeds=(0,)), "tiny-smoke"),
        (named("own", "Own question", claims=()), None),
    ):
        results = committed(ablation, folder, noisy, recipe_name=recipe, nouns=(), steps=0)
        ablation_page.write_report(results, summarise(results))
    return results.store


class Reader(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(page)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)


def page(store):
    return Reader(store.read(index_page.PAGE).decode())


def test_tables_stand_in_the_papers_order_and_link_to_their_pages(store):
    read = page(store)
    links = [attrs["href"] for tag, attrs in read.tags if tag == "a"]
    look = "tiny-hard-look/index.html"
    assert links == [f"three/{look}", "three/tiny-smoke/index.html", f"ten/{look}", f"own/{look}"]
    for link in links:
        assert store.exists(f"reports/{link}")
    assert HOSTILE in read.text
    assert not [tag for tag, attrs in read.tags if tag in ("script", "link", "img") or "src" in attrs]


def test_a_table_counts_once_by_its_fullest_page(store):
    read = page(store)
    # Two tables of two claims; the smoke of one of them and the table without claims add none.
    assert "4 claims in 3 tables" in read.text
    assert "not counted above" in read.text
    assert read.text.startswith("SWIM")
    digests = {}
    for path in store.list_files("reports"):
        if path.endswith("table.json"):
            digests[path.removesuffix("table.json")] = page_summaries.TableSummary.model_validate_json(store.read(path))
    rows = index_page.entries(digests)
    assert index_page.tally(rows) == {
        "REPRODUCED": 2,
        "SHIFTED": 0,
        "CONTRADICTED": 0,
        "EQUIVALENT": 0,
        "UNDERPOWERED": 2,
        "NOT_RUN": 0,
    }
    # All four tables show the same trials here: nine runs, not thirty.
    assert "9 trials" in read.text


def test_the_index_reads_no_record(store, monkeypatch):
    before = store.read(index_page.PAGE)
    monkeypatch.setattr(type(store), "records", None)
    monkeypatch.setattr(type(store), "record", None)
    index_page.write_index(store)
    assert store.read(index_page.PAGE) == before


@pytest.mark.fault(
    injection="a page's summary in the store is damaged",
    symptom="the index is not written, or lacks a table without a word",
    expected="right: named, other pages are linked",
)
def test_a_summary_that_cannot_be_read_is_named_and_other_pages_are_linked(store, tmp_path):
    fresh = committed(named("t", "T"), tmp_path, noisy, nouns=(), steps=0)
    ablation_page.write_report(fresh, summarise(fresh))
    fresh.store.backend.replace("reports/old/tiny/table.json", b'{"schema_version": 9}')
    fresh.store.backend.replace("reports/old/tiny/index.html", b"old")
    fresh.store.backend.replace("reports/odd/tiny/page.json", b"{}")
    fresh.store.backend.replace("reports/odd/tiny/index.html", b"odd")
    index_page.write_index(fresh.store)
    read = page(fresh.store)
    linked = [attrs["href"] for tag, attrs in read.tags if tag == "a"]
    for path, name in (("old/tiny", "table.json"), ("odd/tiny", "page.json")):
        assert f"reports/{path}/{name} cannot be read" in read.text
        assert f"{path}/index.html" in linked


def test_an_empty_store_has_an_index(tmp_path):
    store = committed(
        named("t", "T"), tmp_path, noisy, missing=frozenset((a, s) for a in "abc" for s in range(3))
    ).store
    index_page.write_index(store)
    assert "No table has been reported yet" in page(store).text


def test_the_index_says_what_alpha_means_for_all_pages(store):
    # Table 10 and Table 3 have a family each; the page without a claim and the smoke that is not counted have none.
    text = page(store).text
    assert "Each of the 2 families of claims (a table's claims about one metric) may hold a false REPRODUCED" in text
    assert "A false REPRODUCED anywhere among them has a chance of at most 5 %" in text


def test_a_summary_of_an_older_swimlab_is_one_family(store):
    pages = store.list_files("reports")
    summaries = index_page.read_summaries(store, pages, "table.json", page_summaries.TableSummary, [])
    summary = summaries["reports/ten/tiny-hard-look/"]
    assert summary.families == {"attention.ap": 2}
    old = page_summaries.TableSummary.model_validate(summary.model_dump(exclude={"families"}))
    assert old.tested == summary.tested == {"attention.ap": 2}
