"""Rewrites one row, by rules or by a language model with the same checks, or rejects it with a reason."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from pydantic import Field

from swim.data.nl_refer import instructions, rules, synonyms
from swim.data.nl_refer.checks import LEAST_SHARE, Checks, Rewritten, check_video
from swim.data.nl_refer.tasks import AnnotationKind, Task, read_task
from swim.data.types import DataError
from swim.recipe import Frozen
from swimlab.data.rejected_rows import Reject
from swimlab.llm.answer_cache import Answers
from swimlab.llm.budget import Spending
from swimlab.llm.client import ChatClient, EndpointConfig, RequestError
from swimlab.llm.usage import TokenUsage
from swimlab.store.sweep_store import SweepStore

# Expected tokens of an answer: the enclosing JSON, and one expression with its noun.
EXPECTED_TOKENS, EXPECTED_TOKENS_EACH = 15, 30
_Read = TypeVar("_Read")
_Result = TypeVar("_Result")


class StoppedError(Exception):
    """A run ended early; the message says why. A new run continues with the answers in the store."""


class Rewriting(Frozen):
    """How rows are rewritten. `tokenizer`: a folder or hub id, None for the tiny one; `reasks`: how often a reply that
    cannot be used is asked for again; `videos`: their folder, to check that masks fit, or None."""

    endpoint: EndpointConfig | None = None
    kind: AnnotationKind | None = None
    tokenizer: str | None = None
    least_share: float = Field(LEAST_SHARE, ge=0, le=1)
    reasks: int = Field(2, ge=0)
    synonyms: bool = False
    videos: str | None = None


@dataclass
class RewriteOutcome:
    """The result of one row."""

    done: Rewritten | None = None
    kind: AnnotationKind | None = None
    synonym: dict[str, Any] | None = None
    rejects: list[Reject] = field(default_factory=list)
    usage: TokenUsage = field(default_factory=TokenUsage)


@dataclass
class RewriteEstimate:
    """Expected requests of some rows. `known_completion_tokens` are those of the answers in the store."""

    rows: int = 0
    rejected: dict[str, int] = field(default_factory=dict)
    requests: int = 0
    cached: int = 0
    prompt_tokens: int = 0
    expected_completion_tokens: int = 0
    known_completion_tokens: int = 0


def count(counts: dict[str, int], name: str) -> None:
    """Add one to a count. (A Counter does not survive `dataclasses.asdict`.)"""
    counts[name] = counts.get(name, 0) + 1


class Rewriter:
    """The rewriter of one process; with `asks` False it can only estimate. Raises EndpointError when there is no key,
    OSError for a tokenizer that cannot be read."""

    def __init__(
        self,
        rewriting: Rewriting,
        store: SweepStore,
        *,
        asks: bool = True,
        budget: Spending | None = None,
        share: float = 1.0,
    ) -> None:
        self.rewriting = rewriting
        self.tokenizer = load_tokenizer(rewriting.tokenizer)
        self._checks = Checks(self.tokenizer, rewriting.least_share)
        self._answers = Answers(store)
        self.endpoint: ChatClient | None = None
        if rewriting.endpoint and asks:
            self.endpoint = ChatClient(
                rewriting.endpoint, self._answers, budget=budget, share=share, count=self._tokens
            )

    def __call__(self, raw: Any, file: str, row: int) -> RewriteOutcome:
        """Rewrite one row. Raises EndpointError and StoreError for problems that are not the row's."""
        outcome = RewriteOutcome()
        try:
            task = self._task(raw, file, row)
            outcome.kind = task.kind
            outcome.done = self._by_endpoint(task, outcome.usage) if self.rewriting.endpoint else self._by_rules(task)
        except DataError as error:
            outcome.rejects.append(Reject.of(error))
            return outcome
        if self.rewriting.synonyms:
            try:
                outcome.synonym = self._synonym(outcome.done.row, file, row, outcome.usage)
            except DataError as error:
                outcome.rejects.append(Reject.of(_at(error, task), output="synonym"))
        return outcome

    def estimate(self, raw: Any, file: str, row: int, into: RewriteEstimate) -> None:
        """Add the requests of a row to an estimate. Sends none."""
        into.rows += 1
        try:
            task = self._task(raw, file, row)
        except DataError as error:
            count(into.rejected, Reject.of(error).summary)
            return
        if not self.rewriting.endpoint:
            return
        messages = instructions.rewrite_messages(task)
        # The synonyms' request contains only the questions, which are unknown before the first answer.
        asks = [messages] + [instructions.synonym_messages([messages[1]["content"]])] * self.rewriting.synonyms
        for number, these in enumerate(asks):
            request = self.rewriting.endpoint.request(these, *(_REWRITE if number == 0 else _SYNONYMS))
            if number == 0 and (answer := self._answers.find(request)):
                into.cached += 1
                into.known_completion_tokens += answer.usage.completion_tokens or 0
                continue
            into.requests += 1
            into.prompt_tokens += sum(self._tokens(message["content"]) for message in these)
            into.expected_completion_tokens += EXPECTED_TOKENS + EXPECTED_TOKENS_EACH * task.objects

    def _task(self, raw: Any, file: str, row: int) -> Task:
        """Parse and check a row, before any request is paid for."""
        task = read_task(raw, file=file, row=row, kind=self.rewriting.kind)
        if self.rewriting.videos is not None:
            from swim.data.video.decoder import patiently, shared_decoder
            from swim.recipe import FramePolicy

            probe = shared_decoder(self.rewriting.videos, FramePolicy()).probe
            check_video(task.sample, lambda video: patiently(partial(probe, video)))
        return task

    def _by_rules(self, task: Task) -> Rewritten:
        try:
            return self._checks(task, rules.referents(task))
        except DataError as error:
            raise _at(error, task) from error

    def _by_endpoint(self, task: Task, usage: TokenUsage) -> Rewritten:
        messages = instructions.rewrite_messages(task)
        try:
            return self._conversation(
                messages,
                _REWRITE,
                lambda text: instructions.read_referents(text, task.objects),
                lambda referents: self._checks(task, referents),
                usage,
            )
        except DataError as error:
            raise _at(error, task) from error

    def _synonym(self, row: dict[str, Any], file: str, number: int, usage: TokenUsage) -> dict[str, Any]:
        if not self.rewriting.endpoint:
            return synonyms.replace(row, synonyms.from_table(row, file=file, number=number), file=file, number=number)
        count = len(synonyms.nouns(row))
        return self._conversation(
            instructions.synonym_messages([entry["value"] for entry in row["conversations"][::2]]),
            _SYNONYMS,
            lambda text: instructions.read_synonyms(text, count),
            lambda nouns: synonyms.replace(row, nouns, file=file, number=number),
            usage,
        )

    def _conversation(
        self,
        messages: instructions.Messages,
        form: tuple[dict[str, Any], str],
        read: Callable[[str], _Read],
        check: Callable[[_Read], _Result],
        usage: TokenUsage,
    ) -> _Result:
        """Ask, and ask again with the reason while the reply is unusable. Raises DataError with the last reason."""
        assert self.endpoint is not None
        replies = self.rewriting.reasks + 1
        for number in range(1, replies + 1):
            try:
                answer = self.endpoint.ask(self.endpoint.config.request(messages, *form))
            except RequestError as error:
                raise DataError(error.reason, field="endpoint", hint=error.hint) from error
            usage.add(answer)
            if answer.refusal or answer.finish == "content_filter":
                message = answer.refusal[:200] or "the server's filter stopped it"
                raise instructions.RefusedError(f"the model refuses: {message}", field="conversations", hint=_BY_HAND)
            try:
                return check(read(answer.text))
            except instructions.RefusedError:
                raise
            except DataError as error:
                reason = error.reason
                if answer.finish == "length":
                    reason = f"the reply was cut off at its limit of tokens; {reason}"
                if number == replies:
                    reason = f"{reason}, in the last of {replies} replies"
                    raise DataError(reason, field=error.field, hint=error.hint) from error
                messages = instructions.retry_messages(messages, answer.text, reason)
        raise AssertionError("the last reply returns or raises")

    def _tokens(self, text: str) -> int:
        return len(self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])


_BY_HAND = "write it by hand, or leave the row out"
_REWRITE = (instructions.REWRITE_SCHEMA, "referring_expressions")
_SYNONYMS = (instructions.SYNONYMS_SCHEMA, "synonyms")


def load_tokenizer(name: str | None) -> Callable[..., Any]:
    """A fast tokenizer from a folder or the hub; the tiny one, built on the spot, for None. May be called from many
    threads. Raises OSError, ValueError."""
    if name is None:
        from swim.data.synthetic.tokenizer import build_tokenizer

        tokenizer: Any = build_tokenizer()
    else:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(name)
    if not tokenizer.is_fast:
        raise ValueError(f"the tokenizer {name} gives no offsets: a fast one (tokenizer.json) is needed")
    lock = threading.Lock()

    def encode(text: str, **options: Any) -> Any:
        with lock:  # a call changes options of the shared tokenizer
            return tokenizer(text, **options)

    return encode


def _at(error: DataError, task: Task) -> DataError:
    sample = task.sample
    kind = type(error)
    return kind(error.reason, field=error.field, hint=error.hint, file=sample.file, row=sample.row, key=sample.key)
