"""The README.md of an exported checkpoint, a model card of the hub: what it is, how to load it, and the evidence."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from swim.recipe import HubModel, Recipe
from swimlab.report.cells import notes, qualified
from swimlab.report.index_page import TABLE_SUMMARY, read_summaries
from swimlab.report.markdown import md, md_grid
from swimlab.report.number_format import NO_VALUE, moment, number
from swimlab.report.page_summaries import ClaimSummary, TableSummary
from swimlab.store.evaluation_records import TrialResult
from swimlab.store.sweep_store import SweepStore

TRANSFORMERS_ISSUE = "https://github.com/huggingface/transformers/issues/35569"
SWIM = (
    "Qwen2.5-VL fine-tuned with SWIM (arXiv 2605.18018): the attention of a question's noun is trained to lie on the "
    "object's mask. At inference plain text suffices."
)
CONTROL = "Qwen2.5-VL without SWIM's mask loss (arXiv 2605.18018): a base or a control of its experiments."
_LOAD = """\
```python
from transformers import AutoModelForImageTextToText, AutoProcessor

folder = "."  # this folder, or its name on the hub
model = AutoModelForImageTextToText.from_pretrained(folder)
processor = AutoProcessor.from_pretrained(folder)  # needs torchvision
chat = [{"role": "user", "content": [{"type": "video"}, {"type": "text", "text": "Describe the brown dog."}]}]
prompt = processor.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
# frames: uint8 [T, H, W, 3]; fps: frames a second among these
inputs = processor(text=[prompt], videos=[frames], video_metadata=[{"fps": fps, "total_num_frames": len(frames)}],
                   return_tensors="pt")
tokens = model.generate(**inputs, do_sample=False, max_new_tokens=128)
print(processor.batch_decode(tokens[:, inputs["input_ids"].shape[1]:], skip_special_tokens=True)[0])
```"""


def model_card(store: SweepStore, result: TrialResult, adapters: bool) -> str:
    """The card of a trial.

    Args:
        store: the trial's, for the tables that show it.
        result: the trial with its evaluations.
        adapters: whether the folder holds adapters alone.
    """
    recipe = Recipe.model_validate(result.recipe)
    tables = [table for table in _tables(store) if result.trial_id in table.done]
    lines = [
        *_front_matter(recipe, adapters),
        f"# {md(recipe.name)}, trial {result.trial_id[:8]}",
        "",
        SWIM if recipe.objective.mask_weight > 0 and recipe.optim.trains else CONTROL,
        "",
        *_cautions(recipe, adapters),
        "",
        "## Load it",
        "",
        _LOAD,
        "",
        "Ask by greedy decoding, as it was evaluated. The processor samples no frames by itself: choose them, at most "
        f"{recipe.data.frames.max_frames}. Behind a video longer than about 18 s transformers 5.23 counts the "
        f"positions of text by another rule than training did ([its issue]({TRANSFORMERS_ISSUE})): answers may differ. "
        "Loading with vLLM was not tried.",
        "",
        "## What it was measured by",
        "",
        *md_grid(["metric", "value"], [[name, number(value)] for name, value in sorted(result.metrics.items())]),
        "",
        *(line for table in tables for line in _table(table)),
        *([] if tables else ["No table of its store shows this trial.", ""]),
        "## What decides it",
        "",
        *md_grid(["what", "value"], _identity(result)),
        "",
        "The recipe, whole:",
        "",
        "```json",
        json.dumps(result.recipe, indent=1),
        "```",
    ]
    return "\n".join(lines) + "\n"


def _front_matter(recipe: Recipe, adapters: bool) -> Iterator[str]:
    yield "---"
    yield f"library_name: {'peft' if adapters else 'transformers'}"
    yield "pipeline_tag: video-text-to-text"
    if isinstance(recipe.model, HubModel):
        yield f"base_model: {json.dumps(recipe.model.path)}"
        yield f"base_model_relation: {'adapter' if adapters else 'finetune'}"
    yield "tags: [swim, qwen2_5_vl]"
    yield "---"
    yield ""


def _cautions(recipe: Recipe, adapters: bool) -> Iterator[str]:
    if not isinstance(recipe.model, HubModel):
        yield (
            "**A tiny model** of the real classes, trained on generated videos: it shows a mechanism, and says nothing "
            "about a model of billions of parameters."
        )
    elif adapters:
        yield f"Adapters only: they are loaded onto {md(recipe.model.path)}, whose licence applies."
    else:
        yield f"Made from {md(recipe.model.path)}, whose licence applies."


def _tables(store: SweepStore) -> list[TableSummary]:
    return list(read_summaries(store, store.list_files("reports"), TABLE_SUMMARY, TableSummary, []).values())


def _table(table: TableSummary) -> Iterator[str]:
    standin = ", in place of the paper's metric" if table.standin else ""
    yield f"### {md(table.title)}"
    yield ""
    if table.question:
        yield md(table.question)
        yield ""
    yield f"Recipe {md(table.recipe)}, {len(table.seeds)} seeds, {md(table.metric)}{standin}."
    if table.replication:
        yield md(table.replication)
    if table.mixed:
        yield "MIXED: its trials may not all be compared, so no verdict is given."
    yield ""
    arms = [
        [arm.name, number(arm.mean), _between(arm.low, arm.high), NO_VALUE if arm.paper is None else f"{arm.paper:g}"]
        for arm in table.arms
    ]
    yield from md_grid(["arm", table.metric, "95 % interval", "paper"], arms)
    yield ""
    if table.claims:
        yield from md_grid(["claim", "verdict", "difference", "95 % interval", "evidence"], _claims(table.claims))
        yield ""


def _claims(claims: Sequence[ClaimSummary]) -> list[list[str]]:
    return [
        [
            claim.text,
            qualified(claim.verdict, notes(claim.direction_only, claim.not_mediated)),
            number(claim.difference, signed=True),
            _between(claim.low, claim.high),
            claim.evidence or NO_VALUE,
        ]
        for claim in claims
    ]


def _between(low: float | None, high: float | None) -> str:
    return NO_VALUE if low is None or high is None else f"{number(low)} to {number(high)}"


def _identity(result: TrialResult) -> list[list[str]]:
    numerics = ", ".join(f"{name} {value}" for name, value in result.provenance.numerics.items())
    return [
        ["trial", f"{result.trial_id}, attempt {result.attempt}"],
        ["seed", str(result.seed)],
        ["started from", result.init_trial_id or "fresh weights, or the base that the recipe names"],
        ["start weights (sha256)", result.start_weights or NO_VALUE],
        ["code fingerprint", result.code_fingerprint],
        ["data fingerprint", result.data_fingerprint],
        *([f"evaluation by {e.suite}", e.evaluation_id] for e in result.evaluations),
        ["numerics", numerics],
        ["trained", moment(result.provenance.finished_at)],
    ]
