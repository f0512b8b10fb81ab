"""Flags of the tables whose metrics are a benchmark's: its rows, and the judge that grades the answers.

Runtime like all flags, but the judge: it decides the numbers, so its name is part of their columns and of the protocol.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field
from pydantic_settings import BaseSettings, CliImplicitFlag


class BenchmarkSettings(BaseSettings):
    """Where a benchmark's rows are, and who grades. Nothing is downloaded."""

    bench_d: str | None = Field(None, description="rows of VideoRefer-Bench-D, for tables about bench_d.*")
    bench_q: str | None = Field(None, description="rows of VideoRefer-Bench-Q, for tables about bench_q.*")
    bench_videos: str = Field(".", description="folder of the benchmarks' video paths")
    bench_videos_q: str | None = Field(None, description="folder of those of Bench-Q, where it is another")
    judge: str | None = Field(
        None, description="the language model that grades Bench-D's answers; its name is part of every number it gives"
    )
    judge_url: str = Field(
        "https://api.openai.com/v1",
        description="its server, OpenAI-compatible (`vllm serve`, …); the key in OPENAI_API_KEY",
    )
    judge_params: dict[str, Any] = Field(
        {"temperature": 0, "seed": 0, "max_tokens": 500}, description="JSON of further fields of each request to it"
    )
    price_in: float = Field(0.0, ge=0, description="its price of a million prompt tokens")
    price_out: float = Field(0.0, ge=0, description="its price of a million completion tokens")
    max_cost: float | None = Field(None, gt=0, description="no request leaves that could make a run cost more")
    train_only: CliImplicitFlag[bool] = Field(
        False, description="train now; the same command without it then only measures the benchmarks"
    )
