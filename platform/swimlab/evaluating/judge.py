"""A language model that scorers may ask (`swim.evaluation.scoring.Ask`): answers cached, within a budget and a rate."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from swim.evaluation.scoring import Question, Reply
from swimlab.llm.answer_cache import Answers
from swimlab.llm.budget import Budget
from swimlab.llm.client import ChatClient, EndpointConfig, RequestError
from swimlab.store.sweep_store import SweepStore


class Judge:
    """Asks `at_a_time` questions at once. Every answer is stored when it arrives, so that a run that was killed, a
    second scorer and a second table pay for none again.

    Raises EndpointError when there is no key.
    """

    def __init__(
        self, config: EndpointConfig, store: SweepStore, *, budget: Budget | None = None, at_a_time: int = 8
    ) -> None:
        self.config = config
        self._client = ChatClient(config, Answers(store), budget=budget)
        self._at_a_time = at_a_time

    def ask(self, questions: Sequence[Question]) -> list[Reply]:
        """The replies, in order; of a question that could not be answered the reason. Raises EndpointError when none
        can be answered any more."""
        with ThreadPoolExecutor(self._at_a_time, thread_name_prefix="judge") as threads:
            return list(threads.map(self._reply, questions))

    def _reply(self, question: Question) -> Reply:
        try:
            answer = self._client.ask(self.config.request(question.messages, question.schema, question.name))
        except RequestError as error:
            return Reply(failure=str(error))
        return Reply(text=answer.text, refusal=answer.refusal, finish=answer.finish)


def nobody(questions: Sequence[Question]) -> list[Reply]:
    """For scorers that ask nobody. Raises RuntimeError."""
    raise RuntimeError(
        f"{len(questions)} questions for a language model, from a scorer that says it asks none (JUDGED)"
    )
