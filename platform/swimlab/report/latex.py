r"""The table as LaTeX with booktabs, for `\input` in a paper. Each number carries its evidence id; comments at the end
list the trials of each id."""

from __future__ import annotations

import re
from collections.abc import Sequence

from swimlab.base.printable import one_line
from swimlab.report.cells import TRAILING_COLUMNS, arm_name, verdict_text
from swimlab.report.evidence import EvidenceIndex
from swimlab.report.number_format import NO_VALUE, as_printed, mean_ci, p_value
from swimlab.report.table import ArmRow, ClaimRow, Table

SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    # In the OT1 encoding these characters print as others.
    "<": r"\ensuremath{<}",
    ">": r"\ensuremath{>}",
    "|": r"\ensuremath{|}",
    '"': r"\texttt{\char34}",  # \textquotedbl is an error in OT1
    "`": r"\`{}",
    # After \\ or \midrule these would be read as an option or as a starred form.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    # Characters of our own sentences.
    "±": r"\ensuremath{\pm}",
    "−": r"\ensuremath{-}",
    "–": r"\textendash{}",
    "≥": r"\ensuremath{\geq}",
    "≤": r"\ensuremath{\leq}",
    "≈": r"\ensuremath{\approx}",
    "×": r"\ensuremath{\times}",
    "→": r"\ensuremath{\to}",
    "Δ": r"\ensuremath{\Delta}",
    "δ": r"\ensuremath{\delta}",
    "λ": r"\ensuremath{\lambda}",
    "α": r"\ensuremath{\alpha}",
    "…": r"\ldots{}",
    "“": r"\textquotedblleft{}",
    "”": r"\textquotedblright{}",
    "’": "'",
}

HEAD = r"""% Needs \usepackage{booktabs}. Every number carries the id of its evidence, listed at the end of this file;
% \newcommand{\evidence}[1]{} before \input hides the ids.
\providecommand{\evidence}[1]{\textsuperscript{\tiny\texttt{#1}}}"""


# TeX prints two of these as one other character: a dash, a quotation mark.
_LIGATURE = re.compile(r"([-',])(?=\1)")


def tex(text: str) -> str:
    """Text escaped for LaTeX, on one line. Characters outside SPECIAL stay as they are; they need an engine and a font
    with them."""
    escaped = "".join(SPECIAL.get(sign, sign) for sign in one_line(text))
    return _LIGATURE.sub(r"\1{}", escaped)


def render_latex(table: Table, citations: EvidenceIndex) -> str:
    """Two LaTeX tables, of arms (paper, ours ± CI, verdict, seeds, cost) and of claims; ids from `citations`."""
    primary = table.columns[table.primary]
    measured = tex(primary.measured) + (f" (for {tex(primary.name)})" if primary.standin else "")
    heads = [
        "arm",
        *([f"paper ({tex(primary.name)})"] if table.printed else []),
        f"ours, {measured}",
        *(["verdict"] if table.claims else []),
        *(tex(column.head) for column in TRAILING_COLUMNS),
    ]
    alignment = "l" + "r" * table.printed + "r" + "p{4.4cm}" * bool(table.claims) + "r" * len(TRAILING_COLUMNS)
    rows = [_row(table, citations, i, row) for i, row in enumerate(table.rows)]
    caption = f"{tex(table.title)}: {tex(table.question)} {tex(table.caveat)} {tex(table.replication)}"
    if table.protocol:
        caption += f" Protocol: {tex(table.protocol.text)}."
    lines = [HEAD, *_grid(alignment, heads, rows, caption, f"tab:{table.name}")]
    if table.claims:
        heads = ["claim", r"difference \ensuremath{\pm} 95\,\% CI", f"p ({tex(table.correction)})", "verdict", "seeds"]
        claims = [_claim(citations, i, claim) for i, claim in enumerate(table.claims)]
        caption = (
            f"{tex(table.title)}, claims judged on paired differences over "
            f"{'rows, clustered by video' if table.verdicts == 'rows' else 'seeds'}, recipe {tex(table.recipe_name)}."
        )
        caption += f" {tex(table.judging)}" if table.judging else ""
        lines += _grid("lrrp{3.2cm}r", heads, claims, caption, f"tab:{table.name}-claims")
    lines.append("% Evidence: id, what it is, its trials")
    lines += [f"% {n.id}  {one_line(n.label)} ({n.meaning}): {' '.join(n.trial_ids)}" for n in citations]
    return "\n".join(lines) + "\n"


def _row(table: Table, citations: EvidenceIndex, index: int, row: ArmRow) -> list[str]:
    cell = row.cells[table.primary]
    cells = [tex(arm_name(row))]
    if table.printed:
        cells.append(tex(as_printed(row.paper, table.paper_digits)))
    cells.append(_cited(mean_ci(cell.interval), citations.id("cell", index, table.primary)))
    if table.claims:
        judged = [f"{verdict_text(table.claims[i])} ({table.claims[i].title})" for i in row.claims[:2]]
        more = len(row.claims) - len(judged)
        cells.append(tex("; ".join(judged) + (f"; {more} more below" if more else "")) or tex(NO_VALUE))
    for column in TRAILING_COLUMNS:
        text = column.text(table, row)
        cells.append(_cited(text, citations.id(column.evidence, index)) if column.evidence else tex(text))
    return cells


def _claim(citations: EvidenceIndex, index: int, claim: ClaimRow) -> list[str]:
    difference = _cited(mean_ci(claim.outcome.interval, signed=True), citations.id("claim", index))
    p = tex(p_value(claim.outcome.p_holm))
    return [tex(claim.title), difference, p, tex(verdict_text(claim)), str(len(claim.seeds))]


def _cited(shown: str, evidence_id: str) -> str:
    return tex(shown) + (rf"\evidence{{{evidence_id}}}" if evidence_id else "")


def _grid(alignment: str, heads: Sequence[str], rows: Sequence[Sequence[str]], caption: str, label: str) -> list[str]:
    return [
        r"\begin{table}",
        r"\centering\small",
        rf"\caption{{{caption}}}",
        rf"\label{{{label}}}",
        rf"\begin{{tabular}}{{{alignment}}}",
        r"\toprule",
        " & ".join(heads) + r" \\",
        r"\midrule",
        *(" & ".join(row) + r" \\" for row in rows),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
