"""A judge behind an HTTP server that misbehaves: every reply counted, nothing paid twice, the price known before."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from llm_server import COMPLETION_TOKENS, PROMPT_TOKENS, Model, Reply

from swim.data.types import ReferSample, Turn
from swim.evaluation.judging import AXES, SCHEMA, question
from swim.evaluation.scorers import bench_d
from swim.evaluation.scoring import Asked
from swim.outputs import Answer
from swimlab.llm.answer_cache import Answers
from swimlab.llm.budget import Prices
from swimlab.llm.client import ChatClient, EndpointConfig, EndpointError
from swimlab.llm.judge import SCHEMA_TOKENS, Judge, estimate, first_questions
from swimlab.store.sweep_store import SweepStore

SOON = {"Retry-After": "0.01"}


def graded(**changes: str) -> str:
    values = dict.fromkeys(AXES, "4") | changes
    return "\n".join(f"{n}. {AXES[axis]}: {value}" for n, (axis, value) in enumerate(values.items(), 1))


# What the model under judgement said → what the judge's server does, the n-th time it is asked that.
SERVER: dict[str, Callable[[int], Reply]] = {
    "plain": lambda n: Reply(graded()),
    "paced": lambda n: Reply(graded()) if n else Reply("slower", status=429, headers=SOON),
    "hiccup": lambda n: Reply(graded()) if n else Reply("oops", status=500, headers=SOON),
    "broken": lambda n: Reply("oops", status=500, headers=SOON),
    "slow": lambda n: Reply(graded(), wait_s=3.0),
    "halved": lambda n: Reply(graded(), drop="halfway"),
    "refused": lambda n: Reply("", refusal="I do not judge"),
    "of five": lambda n: Reply(graded(sc="5/5")),
    "bold": lambda n: Reply(graded(sc="**5**")),
    "seven": lambda n: Reply(graded(sc="7")),
    "minus": lambda n: Reply(graded(ad="−1")),
    "half": lambda n: Reply(graded(td="3.5")),
    "missing": lambda n: Reply("\n".join(graded().splitlines()[:3])),
    "turned": lambda n: Reply("\n".join(reversed(graded().splitlines()))),
    "learns": lambda n: Reply(graded(sc="9")),
}


def behave(body: dict[str, Any], n: int) -> Reply:
    """A request that was asked for again says what was wrong, and is answered rightly where the model learns."""
    said = body["messages"][1]["content"].rpartition("\n")[2]
    if said == "learns" and len(body["messages"]) > 2:
        return Reply(graded())
    return SERVER[said](n)


def asked(name: str, number: int = 0) -> Asked:
    turn = Turn(human="Describe the dog.", gpt="A brown dog runs.")
    sample = ReferSample(key=name, file="d.json", row=number, video=f"{number}.mp4", turns=(turn,))
    return Asked(Answer(key=name, turn=0, question="Describe the dog.", text=name, finish="stop"), sample)


EVERY = [asked(name, number) for number, name in enumerate(SERVER)]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Model]:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with Model(behave) as model:
        yield model


def judge_at(server: Model, folder: Path, at_a_time: int = 8, **changes: Any) -> Judge:
    config = {"base_url": server.url, "model": "judge", "retries": 1, "timeout_s": 1.0} | changes
    return Judge(ChatClient(EndpointConfig(**config), Answers(SweepStore(str(folder)))), at_a_time)


def test_every_reply_is_counted_and_shown(server: Model, tmp_path: Path) -> None:
    judge = judge_at(server, tmp_path)
    metrics = bench_d.score(bench_d.Config(most_missing=0.6), EVERY, judge).metrics
    counts = {name: metrics[f"bench_d.{name}"] for name in ("asked", "parsed", "unparsed", "refused", "failed")}
    assert counts == {"asked": 15, "parsed": 7, "unparsed": 4, "refused": 1, "failed": 3}
    assert metrics["bench_d.reasked"] == 5  # the four that stay unparsed, and the one that learns
    assert metrics["bench_d.sc"] == pytest.approx((5 + 5 + 5 * 4) / 7)
    # 7 was taken by the released rule, and so was half a point; bold was not.
    assert metrics["bench_d_released.sc_rows"] == 10
    assert metrics["bench_d_released.td_rows"] == 11
    assert judge.models == Counter({"judge-001": judge.usage.paid})
    assert judge.usage.paid == 12 + 2 * 4 + 1  # first replies, two more of the unparsed, one of the one that learns

    before = sum(server.asked.values())
    failing = judge_at(server, tmp_path)
    assert bench_d.score(bench_d.Config(most_missing=0.6), EVERY, failing).metrics == metrics
    assert (failing.usage.paid, failing.usage.cached) == (0, judge.usage.paid)
    again = sum(server.asked.values()) - before
    assert again == 2 * 3  # only those that failed, with their one retry


def test_nothing_is_asked_twice_and_another_judge_is_another_one(server: Model, tmp_path: Path) -> None:
    twins = [asked("plain", 1), asked("plain", 2)]
    for _ in range(2):
        bench_d.score(bench_d.Config(), twins, judge_at(server, tmp_path))
    assert list(server.asked.values()) == [1]
    bench_d.score(bench_d.Config(), twins, judge_at(server, tmp_path, model="other"))
    assert list(server.asked.values()) == [2]


def test_the_price_is_known_before_and_after(server: Model, tmp_path: Path) -> None:
    prices = Prices(prompt=2.5, completion=10.0)
    judge, config = judge_at(server, tmp_path, prices=prices), EndpointConfig(model="judge", prices=prices)
    questions = first_questions(
        lambda ask: bench_d.score(bench_d.Config(form="schema"), [asked("plain"), asked("bold")], ask)
    )
    assert questions == [question("A brown dog runs.", name, "schema") for name in ("plain", "bold")]
    before = estimate([*questions, questions[0]], config, Answers(SweepStore(str(tmp_path))))
    assert (before.requests, before.cached, before.completion_tokens) == (2, 0, 2 * SCHEMA_TOKENS)
    assert before.cost == pytest.approx((before.prompt_tokens * 2.5 + before.completion_tokens * 10) / 1e6)
    assert sum(server.asked.values()) == 0

    judge(questions)
    after = estimate(questions, config, Answers(SweepStore(str(tmp_path))))
    assert (after.requests, after.cached, after.cost) == (0, 2, 0)
    usage = judge.usage
    assert (usage.paid_prompt_tokens, usage.paid_completion_tokens) == (2 * PROMPT_TOKENS, 2 * COMPLETION_TOKENS)
    assert {json.dumps(body["response_format"]["json_schema"]["schema"]) for body in server.bodies} == {
        json.dumps(SCHEMA)
    }


def test_an_endpoint_that_is_down_stops_the_judge_and_keeps_what_it_said(server: Model, tmp_path: Path) -> None:
    server.behave = lambda body, n: Reply("no such key", status=401) if "plain" in str(body) else behave(body, n)
    with pytest.raises(EndpointError, match="does not accept the key"):
        bench_d.score(bench_d.Config(), [asked("bold"), asked("plain")], judge_at(server, tmp_path, at_a_time=1))
    server.behave = behave
    judge = judge_at(server, tmp_path)
    assert bench_d.score(bench_d.Config(), [asked("bold"), asked("plain")], judge).metrics["bench_d.parsed"] == 2
    assert (judge.usage.paid, judge.usage.cached) == (1, 1)
