"""A language model as a judge: what scorers ask (`swim.evaluation.scoring.Ask`), and what it will cost.

Every answer is stored when it arrives: a run that was killed, a second scorer and a second table pay for none again.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from swim.evaluation.scoring import Ask, Question, Reply
from swimlab.llm.answer_cache import Answers, CompletionUsage, canonical
from swimlab.llm.client import ChatClient, EndpointConfig, RequestError
from swimlab.llm.usage import TokenUsage

# Expected tokens of a reply: four lines with a paragraph, or four fields of JSON. Estimates, not measured.
TEXT_TOKENS, SCHEMA_TOKENS = 170, 35


class Judge:
    """The `ask` of a scorer: questions by a chat client, `at_a_time` at once.

    `usage` and `models` (the name that the server gives itself → replies) count all replies so far, those from the
    store included. Several names mean that an alias moved to another model: not one judge.
    """

    def __init__(self, client: ChatClient, at_a_time: int = 8) -> None:
        self._client, self._at_a_time = client, at_a_time
        self._lock = threading.Lock()
        self.usage = TokenUsage()
        self.models: Counter[str] = Counter()

    def __call__(self, questions: Sequence[Question]) -> list[Reply]:
        """The replies, in order; of a question that could not be answered the reason. Raises EndpointError when none
        can be answered any more, and sends no more then; StoreError."""
        threads = ThreadPoolExecutor(self._at_a_time, thread_name_prefix="judge")
        try:
            return list(threads.map(self._reply, questions))
        finally:
            threads.shutdown(cancel_futures=True)

    def _reply(self, question: Question) -> Reply:
        try:
            answer = self._client.ask(_request(self._client.config, question))
        except RequestError as error:
            return Reply(failure=str(error))
        with self._lock:
            self.usage.add(answer)
            self.models[answer.model] += 1
        return Reply(text=answer.text, refusal=answer.refusal, finish=answer.finish)


@dataclass(frozen=True)
class JudgeEstimate:
    """Different questions: `requests` to be paid, `cached` in the store; tokens of the former, and their cost. A reply
    that has to be asked for again costs more."""

    requests: int
    cached: int
    prompt_tokens: int
    completion_tokens: int
    cost: float


def total(estimates: Iterable[JudgeEstimate]) -> JudgeEstimate:
    """Several together; equal questions of two of them are counted twice."""
    fields = [(e.requests, e.cached, e.prompt_tokens, e.completion_tokens, e.cost) for e in estimates]
    requests, cached, prompt, completion, cost = map(sum, zip(*fields, strict=True)) if fields else (0, 0, 0, 0, 0.0)
    return JudgeEstimate(requests, cached, prompt, completion, cost)


def estimate(questions: Sequence[Question], config: EndpointConfig, answers: Answers) -> JudgeEstimate:
    """Tokens of texts are counted at four characters each. Sends nothing."""
    different = {canonical(_request(config, question)): question for question in questions}
    new = [question for question in different.values() if not answers.find(_request(config, question))]
    prompt = sum(len(message["content"]) for question in new for message in question.messages) // 4
    completion = sum(TEXT_TOKENS if question.schema is None else SCHEMA_TOKENS for question in new)
    cost = config.prices.cost(CompletionUsage(prompt_tokens=prompt, completion_tokens=completion))
    return JudgeEstimate(len(new), len(different) - len(new), prompt, completion, cost)


def first_questions(score: Callable[[Ask], object]) -> list[Question]:
    """What a scorer asks first: `score` is called with an `ask` that asks nobody."""
    asked: list[Question] = []

    def ask(questions: Sequence[Question]) -> list[Reply]:
        asked.extend(questions)
        return [Reply(failure="not asked")] * len(questions)

    score(ask)
    return asked


def _request(config: EndpointConfig, question: Question) -> dict[str, Any]:
    """A repeat has a seed of its own: an equal request would be answered from the store."""
    request = config.request(question.messages, question.schema, question.name)
    return request | {"seed": (request.get("seed") or 0) + question.repeat} if question.repeat else request
