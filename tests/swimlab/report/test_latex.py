import re
import shutil
import subprocess

import pytest

from swimlab import Ablation, Arm, Axis, Better, Metric, Paper
from swimlab.report import evidence, latex
from swimlab.report.markdown import render_markdown
from swimlab.report.summarise import summarise
from synthetic_results import committed

NASTY = r"50% of $x_1$ & {a}~b^c #1 \input{/etc/passwd}" + "\n\\end{document}"


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    ablation = Ablation(
        name="fusion_x",
        question=NASTY,
        arms=[*Axis("objective.fusion", {"mean": "mean", NASTY: "max"}), Arm("control", {"objective.mask_weight": 0})],
        seeds=(0, 1, 2),
        metrics=(Metric("bench_d.avg", standin={"tiny": "attention.ap"}, primary=True), Metric("answer.accuracy")),
        paper=Paper("Table 4", {"mean": 3.78}, claims=(Better("mean", NASTY), Better("mean", "control"))),
        reference="control",
    )
    level = {"mean": 0.66, NASTY: 0.6, "control": 0.13}
    found = committed(
        ablation,
        tmp_path_factory.mktemp("store"),
        lambda arm, seed: {"attention.ap": level[arm] + 0.003 * seed, "answer.accuracy": 0.5},
        nouns=(),
        steps=0,
        missing=frozenset({("control", 2)}),
    )
    return summarise(found)


def test_every_line_is_what_latex_expects(table):
    text = latex.render_latex(table, evidence.evidence_index(table))
    code = re.sub(r"(?m)^%.*\n", "", text)
    assert re.sub(r"\\[{}]", "", code).count("{") == re.sub(r"\\[{}]", "", code).count("}")
    words = re.sub(r"\\providecommand.*|\\label\{.*\}", "", code)
    assert not re.search(r"(?<!\\)[$#%~^_]", words)
    assert r"\input" not in code
    assert not [line for line in text.splitlines() if line.startswith(r"\end{document}")]
    for body in re.findall(r"\\begin\{tabular\}\{([^\n]*)\}\n(.*?)\\end\{tabular\}", code, re.DOTALL):
        columns = len(re.sub(r"p\{[^}]*\}", "l", body[0]))
        rows = [line for line in body[1].splitlines() if line.endswith(r"\\")]
        assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {columns}
    assert r"0.663\ensuremath{\pm} 0.007".replace(r"3\e", r"3 \e") in code


def test_numbers_carry_ids_and_the_legend_has_their_trials(table):
    citations = evidence.evidence_index(table)
    text = latex.render_latex(table, citations)
    quoted = set(re.findall(r"\\evidence\{([0-9a-f]{8})\}", text))
    # Three arms and their cost, two claims.
    assert len(quoted) == 8
    legend = {line.split()[1]: line for line in text.splitlines() if re.match("% [0-9a-f]{8}  ", line)}
    assert quoted <= set(legend)
    for number in citations:
        assert all(trial_id in legend[number.id] for trial_id in number.trial_ids)
    markdown = render_markdown(table, citations)
    assert quoted <= set(re.findall(r"§([0-9a-f]{8})", markdown))
    for number in citations:
        assert re.search(rf"(?m)^\| {number.id} \|.*{' '.join(number.trial_ids)}", markdown)


def test_without_numbers_of_the_paper_there_is_no_column_for_them(table, tmp_path):
    ablation = Ablation(name="own", arms=[Arm("a"), Arm("b")], seeds=(0, 1), metrics=(Metric("attention.ap"),))
    own = summarise(committed(ablation, tmp_path, lambda arm, seed: {"attention.ap": 0.5}, nouns=(), steps=0))
    text = latex.render_latex(own, evidence.evidence_index(own))
    assert "paper (" not in text
    assert "& verdict" not in text
    assert r"\begin{tabular}{lrrrr}" in text
    assert "| paper |" not in render_markdown(own, evidence.evidence_index(own))


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no TeX on this machine")
def test_it_compiles(table, tmp_path):
    (tmp_path / "report.tex").write_text(latex.render_latex(table, evidence.evidence_index(table)))
    paper = r"\documentclass{article}\usepackage{booktabs}\begin{document}\input{report}\end{document}"
    (tmp_path / "paper.tex").write_text(paper)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout[-2000:]
    assert "Missing character" not in ran.stdout
