"""The report of a rewriting run: terminal, Markdown and one self-contained page, from the same grids."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from swim.data.nl_refer.reference_rows import GROUPS, OUTCOMES
from swimlab.data.rewriting.rewriter import RewriteEstimate
from swimlab.data.rewriting.run_record import EXPERIMENT, Built, first_rejects, wilson
from swimlab.llm.budget import Prices
from swimlab.report import html
from swimlab.report.grids import Grid
from swimlab.report.markdown import md, md_grid
from swimlab.report.number_format import duration
from swimlab.store.sweep_store import SweepStore

TITLE = "NL-Refer from VideoRefer"
QUESTION = "How many rows can be rewritten, at what cost, and how often is the expression wrong?"
KNOWN_NOTE = (
    "Errors are counted on the embedded data, whose expressions are known and whose sentences are simple: a lower "
    "bound for real annotations. An expression is ambiguous when it also fits another object of its clip. Intervals "
    "are Wilson's, each object counted as one trial."
)
_REJECTS = 20


def expected_cost(estimate: RewriteEstimate, prices: Prices) -> tuple[float, int]:
    """The expected cost of the requests to send, and their completion tokens.

    The length of an answer is the mean over the answers in the store; without any, the guess of the estimate.
    """
    tokens = estimate.expected_completion_tokens
    if estimate.cached:
        tokens = round(estimate.requests * estimate.known_completion_tokens / estimate.cached)
    return (estimate.prompt_tokens * prices.prompt + tokens * prices.completion) / 1e6, tokens


def estimate_grid(estimate: RewriteEstimate, prices: Prices, minutes: float, tokenizer: str | None) -> Grid:
    """The estimate as `plan` prints it.

    Args:
        estimate: rows, requests and tokens.
        prices: of a million tokens.
        minutes: the least duration at the rate limit; 0 without a limit.
        tokenizer: what counted the tokens; None for the tiny one.
    """
    counted = f"counted by {tokenizer}" if tokenizer else "an upper estimate: the tiny tokenizer cuts unknown words up"
    cost, tokens = expected_cost(estimate, prices)
    rejected = sum(estimate.rejected.values())
    free = estimate.requests and not (prices.prompt or prices.completion)
    rows = [
        ["rows", f"{estimate.rows:,}"],
        ["rejected before a request", f"{rejected:,}"],
        ["answers in the store", f"{estimate.cached:,}"],
        ["requests to send", f"{estimate.requests:,}"],
        ["prompt tokens", f"{estimate.prompt_tokens:,} ({counted})"],
        ["completion tokens", f"{tokens:,}"],
        ["cost", "no price given (--price-in, --price-out)" if free else money(cost)],
        ["least duration at the rate limit", duration(60 * minutes) if minutes else "no limit set"],
    ]
    return "Plan", ["what", "expected"], rows


def grids(built: Built) -> list[Grid]:
    """All tables of the report."""
    tally = built.tally
    counts = [
        ["rows", tally["rows"]],
        ["rewritten", tally["rewritten"]],
        *([f"rewritten as {kind}", count] for kind, count in sorted(tally["kinds"].items())),
        ["rejected", tally["rows"] - tally["rewritten"]],
    ]
    if built.settings.get("synonyms"):
        counts.append(["with a synonym variant", tally["synonyms"]])
    share = [[name, f"{count:,}", _percent(count, tally["rows"])] for name, count in counts]
    tables: list[Grid] = [("Rows", ["rows", "count", "of all"], share)]
    if built.errors:
        tables.append(_errors_grid(built))
    reasons = tally["rejected"] | {f"{reason}": count for reason, count in tally["no_synonym"].items()}
    if reasons:
        ranked = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
        tables.append(("Rejected", ["reason", "count"], [[reason, f"{count:,}"] for reason, count in ranked]))
    if built.estimate is not None:
        tables.append(_cost_grid(built))
    word_share = tally["words"] / tally["expressions"] if tally["expressions"] else 0.0
    checked = [
        ["expressions", f"{tally['expressions']:,}"],
        ["content words kept in the answers, mean", f"{word_share:.1%}"],
        ["least share asked for", f"{built.settings['least_share']:.0%}"],
    ]
    return [*tables, ("Expressions", ["what", "value"], checked)]


def money(amount: float) -> str:
    """An amount in the currency of the prices; four digits below 1."""
    return f"{amount:,.2f}" if amount >= 1 else f"{amount:.4f}"


def _percent(count: int, total: int) -> str:
    return f"{count / total:.1%}" if total else "–"


def _errors_grid(built: Built) -> Grid:
    heads = ["known rows", "what they ask", "objects", *OUTCOMES, "wrong, of those rewritten [95 % CI]"]
    rows = []
    for group in built.errors:
        low, high = wilson(group.wrong, group.rewritten)
        error = f"{group.wrong / group.rewritten:.1%} [{low:.1%}, {high:.1%}]" if group.rewritten else "none rewritten"
        counts = [f"{group.counts.get(outcome, 0):,}" for outcome in OUTCOMES]
        rows.append([group.group, GROUPS.get(group.group, ""), f"{group.total:,}", *counts, error])
    return "Errors against known expressions", heads, rows


def _cost_grid(built: Built) -> Grid:
    estimate, usage = built.estimate or {}, built.tally["asked"]
    rows = [
        ["answers paid for", f"{estimate['requests']:,}", f"{usage['paid']:,}"],
        ["answers from the store", f"{estimate['cached']:,}", f"{usage['cached']:,}"],
        ["prompt tokens", f"{estimate['prompt_tokens']:,}", f"{usage['paid_prompt_tokens']:,}"],
        ["completion tokens", f"{estimate['completion_tokens']:,}", f"{usage['paid_completion_tokens']:,}"],
        ["cost of this run", money(built.expected or 0), money(built.spent)],
        ["cost of all answers used", "", money(_cost_of_all(built))],
        ["requests sent, tries again included", "", f"{built.tally['sent']:,}"],
        ["answers whose tokens the server did not count", "", f"{usage['uncounted']:,}"],
    ]
    return "Cost", ["what", "expected before", "counted after"], rows


def _cost_of_all(built: Built) -> float:
    usage, prices = built.tally["asked"], built.settings
    prompt = usage["paid_prompt_tokens"] + usage["cached_prompt_tokens"]
    completion = usage["paid_completion_tokens"] + usage["cached_completion_tokens"]
    return float(prompt * prices["price_in"] + completion * prices["price_out"]) / 1e6


def _pieces(text: str) -> list[tuple[str, bool]]:
    """A question split into (text, marked): tagged nouns and placeholders are marked."""
    parts = re.split(
        r"(<ins>.*?</ins>|<object[0-9]+>(?:<region>)?|<region>)", re.sub(r"\A<(?:video|image)>\n?", "", text)
    )
    return [(re.sub(r"</?ins>", "", part), i % 2 == 1) for i, part in enumerate(parts) if part]


def notes_of(built: Built) -> list[str]:
    """Notes that the numbers must be read with."""
    settings = built.settings
    author = (
        f"the model {settings['model']} at {settings['base_url']}"
        if settings["rewriter"] == "endpoint"
        else "rules, without a model"
    )
    notes = [
        f"Expressions by {author}. Placeholders are replaced, nothing else of a row changes; every row was checked."
    ]
    return notes + ([KNOWN_NOTE] if built.errors else [])


def markdown(built: Built, tables: Sequence[Grid]) -> str:
    """The tables as Markdown, for a README or a pull request."""
    lines = [f"# {TITLE}", "", md(f"Run {built.run_id}, {built.provenance.finished_at}."), ""]
    lines += [f"_{md(note)}_\n" for note in notes_of(built)]
    for heading, heads, rows in tables:
        lines += [f"## {md(heading)}", "", *md_grid(heads, rows), ""]
    return "\n".join(lines)


def write_report(store: SweepStore, built: Built) -> str:
    """Writes reports/build_nl_refer/<run_id>/{report.md, index.html} and returns the address of the page."""
    folder, tables = f"reports/{EXPERIMENT}/{built.run_id}", grids(built)
    provenance, rows = built.provenance, built.tally["rows"]
    facts: dict[str, Any] = {"run": built.run_id, "rows": f"{rows:,}", "took": duration(built.wall_s)}
    facts |= {
        "rewriter": built.settings["rewriter"],
        "git": (provenance.git_sha or "?")[:9],
        "finished": provenance.finished_at,
    }
    page = html.render(
        "rewriting.html.j2",
        title=TITLE,
        question=QUESTION,
        built=built,
        facts=facts,
        notes=notes_of(built),
        grids=tables,
        examples=[(_pieces(before), _pieces(after)) for before, after in built.tally["examples"]],
        rejects=first_rejects(store, built, _REJECTS),
        rejected=sum(built.tally["rejected"].values()) + sum(built.tally["no_synonym"].values()),
    )
    store.backend.replace(f"{folder}/report.md", markdown(built, tables).encode())
    store.backend.replace(f"{folder}/index.html", page.encode())
    return f"{store.uri}/{folder}/index.html"
