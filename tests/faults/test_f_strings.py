"""Names of arms are text in everything that is printed and written, through the commands that do it."""

import csv
import re
from pathlib import Path

import pytest
from fault_kit import Command, experiment, finish
from fault_table import fault
from markdown_it import MarkdownIt

import nano
from nasty import controls
from swimlab import Ablation, Arm

ESCAPES = "mean\x1b]0;owned\x07\x1b[2J"
FORMULA = '=HYPERLINK("http://x","y")'
OPTION, STAR, MARKUP, EVEN, MATH = "[0, 7, 14]", "*best", "mean [/b]", "a [even:2]", "loss $x^2$"
ARMS = (ESCAPES, FORMULA, OPTION, STAR, MARKUP, EVEN, MATH)


@pytest.fixture(scope="module")
def table() -> Ablation:
    arms = tuple(Arm(name, {"objective.mask_weight": 1.0 + i}) for i, name in enumerate(ARMS))
    return nano.ablation(seeds=(0, 1), arms=arms)


@pytest.fixture(scope="module")
def lab(table: Ablation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the store of the table's run, and in run.txt what that printed."""
    folder = tmp_path_factory.mktemp("strings")
    finish(folder, table)
    code, printed = experiment(folder, table, "run")
    assert code == 0, printed
    (folder / "run.txt").write_text(printed)
    return folder


def printed_by_run(lab: Path) -> str:
    return (lab / "run.txt").read_text()


@pytest.fixture(scope="module")
def report(lab: Path) -> Path:
    return lab / "store/reports/nano/nano"


@fault("arms named 'mean [/b]' and 'a [even:2]'", "MarkupError, or a name that loses its end", "right", "F14")
def test_brackets_are_text_for_plan_run_and_ls(lab: Path, table: Ablation, swimlab: Command) -> None:
    outputs = [printed_by_run(lab), experiment(lab, table, "plan")[1], swimlab("ls", "--store", str(lab / "store"))[1]]
    for printed in outputs:
        for name in (MARKUP, EVEN, OPTION):
            assert "".join(name.split()) in "".join(printed.split()), printed


@fault(
    "an arm named '[0, 7, 14]', or '*best', begins a row of LaTeX",
    "the file does not compile, or the star is lost",
    "right",
    "F15",
)
def test_a_row_of_latex_begins_with_no_option(report: Path) -> None:
    text = next(report.glob("*.tex")).read_text()
    rows = re.findall(r"(?:\\\\|\\(?:top|mid|bottom)rule)\s*(\S+)", text)
    assert len(rows) > 2 * len(ARMS) // 2
    assert not [row for row in rows if row[0] in "[*"], text
    for cell in ("0, 7, 14", "best", "HYPERLINK"):
        assert cell in text
    assert re.search(r"\*\s*best|\*\}best", text), text


@fault(
    "an arm holds terminal escapes", "they reach the terminal of ls, show, why and watch", "right: shown as text", "F16"
)
def test_no_escape_of_a_store_reaches_the_terminal(lab: Path, swimlab: Command) -> None:
    first, second, *_ = (path.stem for path in (lab / "store/records").iterdir())
    assert not controls(printed_by_run(lab))
    for argv in (["ls"], ["show", first], ["why", first, second], ["watch", "--once"]):
        code, printed = swimlab(*argv, "--store", str(lab / "store"))
        assert (code, controls(printed)) == (0, set())
        assert "owned" in printed or argv[0] != "ls"


@fault("an arm begins with '=' or '@'", "a spreadsheet runs it as a formula of the export", "right", "F16")
def test_no_cell_of_an_export_is_a_formula(lab: Path, swimlab: Command, tmp_path: Path) -> None:
    out = tmp_path / "rows.csv"
    code, printed = swimlab("export", "--out", str(out), "--store", str(lab / "store"))
    assert code == 0, printed
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert FORMULA in {row["arm"].lstrip("'") for row in rows}
    assert not [cell for row in rows for cell in row.values() if cell[:1] in ("=", "@", "+", "\t", "\r")]


@fault("an arm holds $x^2$ or markup of Markdown", "GitHub shows mathematics or formats, no name", "right", "F16")
def test_a_name_is_text_in_markdown(report: Path) -> None:
    text = next(report.glob("*.md")).read_text()
    shown = MarkdownIt("commonmark", {"html": True}).enable("table").parse(text)
    words = "".join(t.content if t.type in ("text", "text_special") else "" for i in shown for t in i.children or ())
    for name in (OPTION, STAR, MARKUP, EVEN, MATH, FORMULA):
        assert name in words, words
    assert "$x" not in text
