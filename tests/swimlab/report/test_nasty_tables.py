"""Names of arms, metrics, recipes, hosts and files arrive as text in every rendering.

A report is rendered twice: with plain names, and with names that HTML, Markdown or LaTeX would take for more than text.
Read back, the second is the first with the names replaced.
"""

import csv
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from matplotlib.figure import Figure

import nasty
from nasty import MARKDOWN, Page, spaced
from swimlab import Ablation, Arm, Better, Metric, Paper
from swimlab.base.printable import one_line, printable
from swimlab.cli.commands import export
from swimlab.experiment.results import Results
from swimlab.report import ablation_page, figure_style, html, latex, terminal
from swimlab.report.attention_film import fitting
from swimlab.report.markdown import md, md_grid
from swimlab.report.summarise import summarise
from swimlab.report.table import Table
from synthetic_results import committed

ARMS = 24
OTHERS = ("question", "title", "note", "recipe", "host", "failure", "reason", "file", "noun", "numerics")
TOKENS = [f"QQ{i:03}QQ" for i in range(ARMS)] + [f"QQ{name}QQ" for name in OTHERS]


def results(folder: Path, called: Mapping[str, str]) -> Results:
    """An ablation whose names are `called` so, in place of the tokens."""
    arms = [called[token] for token in TOKENS[:ARMS]]
    level = {arm: 0.3 + 0.01 * i for i, arm in enumerate(arms)}
    ablation = Ablation(
        name="nasty",
        question=called["QQquestionQQ"],
        arms=[Arm(arm) for arm in arms],
        seeds=(0, 1),
        metrics=(Metric("attention.ap", primary=True), Metric("answer.accuracy")),
        paper=Paper(
            called["QQtitleQQ"],
            {arms[0]: 3.78},
            claims=tuple(Better(a, b) for a, b in zip(arms[1:8], arms, strict=False)),
            notes=(called["QQnoteQQ"],),
        ),
        reference=arms[0],
    )
    made = committed(
        ablation,
        folder,
        lambda arm, seed: {"attention.ap": level[arm] + 0.003 * seed, "answer.accuracy": 0.5},
        nouns=(called["QQnounQQ"],),
        steps=0,
        failures={(arms[-1], 1): called["QQfailureQQ"]},
        missing=frozenset({(arms[-2], 1)}),
        quarantine={called["QQreasonQQ"]: 3},
        recipe_name=called["QQrecipeQQ"],
        numerics=lambda arm, seed: {"device": called["QQnumericsQQ"]} if arm == arms[1] else {"device": "cpu"},
    )
    row = {"file": called["QQfileQQ"], "row": 3, "field": "video", "reason": called["QQreasonQQ"], "hint": "mend it"}
    trials = [
        trial
        if trial.record is None
        else replace(trial, record=trial.record.model_copy(update={"provenance": on_host(trial, called["QQhostQQ"])}))
        for trial in made.trials
    ]
    return replace(made, trials=tuple(trials), quarantined=(row,))


def on_host(trial: Any, host: str) -> Any:
    return trial.record.provenance.model_copy(update={"host": host})


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The plain report, the nasty one, and token → name."""
    folder = tmp_path_factory.mktemp("store")
    called = dict(zip(TOKENS, nasty.names(len(TOKENS), seed=0), strict=True))
    plain = results(folder / "same", {token: token for token in TOKENS})
    return plain, results(folder / "other", called), called


def with_names(text: str, called: Mapping[str, str], name: Callable[[str], str] = one_line) -> str:
    """The plain text with the names that the other rendering has."""
    return spaced(re.sub("|".join(TOKENS), lambda match: name(called[match[0]]), text))


@pytest.fixture(scope="module")
def written(pair: Any) -> tuple[dict[str, str], dict[str, str]]:
    plain, hostile = (
        {name: text.replace(one.store.uri, "STORE") for name, text in ablation_page.write(one, summarise(one)).items()}
        for one in pair[:2]
    )
    return plain, hostile


@pytest.mark.fault(
    injection="hostile names of arms, metrics and claims",
    symptom="they become elements or scripts of the HTML page",
    expected="right: the same elements, names as text",
)
def test_html_has_the_same_elements_and_the_names_as_text(written: Any, pair: Any) -> None:
    plain, hostile = (Page(files["index.html"]) for files in written)
    assert nasty.controls(written[1]["index.html"]) <= {"\t"}
    assert hostile.tags == plain.tags
    assert hostile.text == with_names(plain.text, pair[2])
    for token in set(TOKENS) - {"QQnumericsQQ"}:
        assert token in plain.text


@pytest.mark.fault(
    injection="hostile names of arms, metrics and claims",
    symptom="they become links, maths or cells of the Markdown page",
    expected="right: the same elements, names as text",
    reference="F16",
)
def test_markdown_has_the_same_elements_and_the_names_as_text(written: Any, pair: Any) -> None:
    plain, hostile = (Page(MARKDOWN.render(files["report.md"])) for files in written)
    assert not nasty.controls(written[1]["report.md"])
    assert "$" not in written[1]["report.md"]  # GitHub's formulas, which the parser does not know
    assert hostile.tags == plain.tags
    assert hostile.text == with_names(plain.text, pair[2])
    assert [len(counts) for counts in nasty.columns(written[1]["report.md"])] == [1] * 4


def test_any_text_is_a_paragraph_and_a_cell_of_markdown() -> None:
    for name in nasty.names(400, seed=2):
        for text in (name, name[:2], name[-3:].strip() or "x"):
            page = Page(MARKDOWN.render(f"{md(text)}\n\n{chr(10).join(md_grid([text], [[text]]))}\n"))
            assert [tag for tag, _ in page.tags] == ["p", "table", "thead", "tr", "th", "tbody", "tr", "td"], text
            assert page.text == spaced(" ".join([one_line(text)] * 3))


# What `latex.tex` may write, read back. Everything else with a backslash is the file's own.
READ = {
    r"\textbackslash{}": "\\",
    r"\textasciitilde{}": "~",
    r"\textasciicircum{}": "^",
    r"\texttt{\char34}": '"',
    r"\textendash{}": "–",
    r"\ensuremath{<}": "<",
    r"\ensuremath{>}": ">",
    r"\ensuremath{|}": "|",
    r"\ensuremath{-}": "−",
    r"\`{}": "`",
    **{f"\\{sign}": sign for sign in "{}$&#%_"},
    **{f"{{{sign}}}": sign for sign in "[]*"},
    "-{}": "-",
    "'{}": "'",
    ",{}": ",",
}
TOKEN = re.compile("|".join(map(re.escape, sorted(READ, key=len, reverse=True))))


@pytest.mark.fault(
    injection="hostile names of arms, metrics and claims",
    symptom="they become commands of the LaTeX table, or it does not compile",
    expected="right: the same commands, names as text",
    reference="F15",
)
def test_latex_has_the_same_commands_and_the_names_as_text(written: Any, pair: Any) -> None:
    plain, hostile = (files["report.tex"].splitlines() for files in written)
    assert not nasty.controls("\n".join(hostile))
    assert len(plain) == len(hostile)
    for before, after in zip(plain, hostile, strict=True):
        if before.startswith("%"):
            assert spaced(after) == with_names(before, pair[2])
            continue
        rest = TOKEN.sub("", after)
        assert rest.count("{") == rest.count("}")
        assert re.findall(r"\\[A-Za-z]+|\\.|[&~^_$#%]", rest) == re.findall(
            r"\\[A-Za-z]+|\\.|[&~^_$#%]", TOKEN.sub("", before)
        )
        assert not re.match(r"\s*[\[*]", after)  # the line before ends with \\ or \midrule
        assert not re.search(r"--|''|``|,,", after)
        read = TOKEN.sub(lambda match: READ[match[0]], after)
        assert spaced(read) == with_names(TOKEN.sub(lambda match: READ[match[0]], before), pair[2])


def test_latex_keeps_what_a_command_would_take_for_its_option() -> None:
    for text in ("[0, 7, 14]", "*best", " *[x]"):
        assert latex.tex(text)[0] == "{"
    assert latex.tex("a--b \"c\" ``d''") == r"a-{}-b \texttt{\char34}c\texttt{\char34} \`{}\`{}d'{}'"


@pytest.mark.fault(
    injection="hostile names of arms, metrics and claims",
    symptom="the printed table sends control characters",
    expected="right: shown as text",
    reference="F16",
)
def test_the_terminal_shows_the_names_and_no_control_character(pair: Any) -> None:
    table: Table = summarise(pair[1])
    printed = terminal.render_terminal(table, width=2000)
    assert not nasty.controls(printed)
    # rich drops BEL, BS, VT, FF and CR when a text is made, before a console can escape them.
    gone = str.maketrans("", "", "\x07\x08\x0b\x0c\r")
    text = "".join(printed.split())
    for line in "\n".join(pair[2][token] for token in TOKENS[:ARMS]).split("\n"):
        assert "".join(one_line(line.translate(gone)).split()) in text


def test_csv_has_no_formula_and_every_name(tmp_path: Path) -> None:
    texts = [*nasty.names(400, seed=3), "-0.5", "+3", "1e-3", "-1e5", "-", "=", "\t=1", "＋1"]
    columns = {"arm": texts, "=cmd()": [-0.5] * len(texts), "name": [None, *texts[1:]]}
    export.write_file(pa.table(columns), tmp_path / "trials.csv")
    data = (tmp_path / "trials.csv").read_bytes().decode()
    assert nasty.controls(data) <= {"\t"}
    with (tmp_path / "trials.csv").open(newline="") as file:
        head, *rows = csv.reader(file)
    assert head == ["arm", "'=cmd()", "name"]
    assert [row[1] for row in rows] == ["-0.5"] * len(texts)
    for text, (arm, _, name) in zip(texts, rows, strict=True):
        assert arm in (printable(text), f"'{printable(text)}")
        for cell in (arm, name):
            number = re.fullmatch(r"[-+]?[0-9.]+(e[-+]?[0-9]+)?", cell)
            assert number or not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋"))
    # Other programs read the names as they are.
    export.write_file(pa.table(columns), tmp_path / "trials.parquet")
    assert pq.read_table(tmp_path / "trials.parquet")["arm"].to_pylist() == texts


@pytest.mark.fault(
    injection="$ and control characters in the labels of a figure",
    symptom="matplotlib reads maths, or fails",
    expected="right: drawn as text",
)
def test_a_figure_shows_a_dollar_and_no_control_character() -> None:
    from matplotlib import rc_context

    with rc_context(figure_style.STYLE):
        figure = Figure()
        panel = figure.subplots()
        panel.set_title("a $x^2$ \x1b]0;t\x07 \u202eb <b>")
        panel.set_xticks([0, 1], ["$y", "z$"])
        svg = re.sub("<!--.*?-->", "", figure_style.to_svg(figure), flags=re.DOTALL)  # the source of a formula
    assert not nasty.controls(svg)
    for text in (r"a $x^2$ \x1b]0;t\x07 \u202eb &lt;b&gt;", "$y", "z$"):
        assert text in svg


@pytest.mark.fault(
    injection="names with .. and : in the links of the index",
    symptom="a link leads out of the folder or runs a script",
    expected="right: links stay in the folder",
)
def test_links_of_pages_lead_into_the_folder() -> None:
    page = html.render(
        "index.html.j2",
        uri="store",
        rows=[],
        tally={},
        recipes=[],
        error_rate="",
        direction_only=False,
        trials=0,
        wall_s=0.0,
        other_pages={"javascript:alert(1)//index.html": None, 'a"?#b/index.html': None},
        unreadable=[],
    )
    assert re.findall(r'<a href="([^"]*)"', page) == ["javascript%3Aalert%281%29//index.html", "a%22%3F%23b/index.html"]


def test_a_label_of_a_film_is_printable() -> None:
    from PIL import ImageFont

    assert fitting("a\x1b\r\nb", ImageFont.load_default(12), 500) == "a\\x1b\\r b"
