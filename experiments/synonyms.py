"""Table 8: does a model know the object, or the word?  The same rows with tagged nouns replaced.  (SWIM, section 4.3)

As in the paper "swim*" is asked with synonyms. `--bench-d d.json --bench-d-synonyms d-synonym.json`, and the same of
Bench-Q; rows are paired, and a row that differs in more than its tagged words is refused. For rows of one's own,
`build_nl_refer.py` writes synonyms. The embedded data set has none: its nouns are names of colours that a tiny model
learns from nothing else, so that another word is no synonym to it but a word it never saw.
"""

from __future__ import annotations

from dataclasses import replace

from pydantic import Field, model_validator
from rich.console import Console

from benchmark_refer import PROMPTS, TABLES
from swimlab import Better, NotWorse
from swimlab.cli import benchmark_file, command_line
from swimlab.cli.benchmark_file import ARMS, Asked, BenchmarkSettings, Page
from swimlab.evaluating.synonym_rows import pair_keys
from swimlab.experiment.claim import Claim
from swimlab.store.sweep_store import SweepStore

# In the units of each benchmark: the paper's own loss on Bench-D is .04 of 5.
MARGINS = {"bench-q": 2.0, "bench-d": 0.1}
PAPER = {
    "bench-d": {
        "Qwen2.5-VL*": (4.78, 3.49, 3.27, 2.18, 3.43),
        "SWIM": (4.92, 3.85, 3.43, 2.96, 3.78),
        "SWIM*": (4.86, 3.78, 3.36, 2.96, 3.74),
    }
}
NOTES = [
    "* asked with synonyms. Table 8's row of Qwen2.5-VL* is Table 1's row of Qwen2-VL.",
    "The release evaluates Bench-Q with synonyms by default; Table 8 has no row of it.",
]


class SynonymSettings(BenchmarkSettings):
    """Finished models on benchmarks and on the same rows with synonyms."""

    bench_q_synonyms: str | None = Field(None, description="rows of Bench-Q with the tagged words replaced")
    bench_d_synonyms: str | None = Field(None, description="rows of Bench-D with the tagged words replaced")

    @model_validator(mode="after")
    def _both(self) -> SynonymSettings:
        for name in ("bench_q", "bench_d"):
            if (getattr(self, name) is None) != (getattr(self, f"{name}_synonyms") is None):
                flag = name.replace("_", "-")
                raise ValueError(f"--{flag} and --{flag}-synonyms are compared: name both files, or neither")
        return self


def claims(scorer: str) -> list[Claim]:
    """Each model loses little by synonyms, and with them the gain of training remains."""
    margin = MARGINS[scorer]
    return [
        *(NotWorse(f"{arm}*", arm, margin=margin) for arm in ARMS),
        *(Better("swim*", f"{arm}*") for arm in ("base", "control")),
    ]


def run(settings: SynonymSettings, console: Console) -> int:
    """Does what the command line says."""
    store = SweepStore(settings.store)
    models = settings.models(store)
    frames = benchmark_file.frames(models)
    files = {
        "bench-q": (settings.bench_q, settings.bench_q_synonyms),
        "bench-d": (settings.bench_d, settings.bench_d_synonyms),
    }
    pages = []
    for scorer, (published, synonyms) in files.items():
        if published is None or synonyms is None:
            continue
        keys, prompts = pair_keys(synonyms, published), PROMPTS["text"][scorer]
        table = replace(TABLES[scorer], claims=claims(scorer), paper=PAPER.get(scorer, {}), notes=NOTES)
        for plain, replaced in zip(
            settings.benchmarks(scorer, frames, prompts),
            settings.benchmarks(scorer, frames, prompts, synonyms),
            strict=True,
        ):
            arms = {arm: Asked(of_arm, plain) for arm, of_arm in models.items()}
            arms |= {f"{arm}*": Asked(of_arm, replaced, keys) for arm, of_arm in models.items()}
            pages.append(Page(table, arms))
    facts = benchmark_file.named(models)
    return benchmark_file.run(settings, store, "synonyms", "Table 8", pages, facts, console)


if __name__ == "__main__":
    settings = command_line.parse(SynonymSettings)
    benchmark_file.main(settings, lambda console: run(settings, console))
