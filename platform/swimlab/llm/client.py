"""A client of OpenAI-compatible servers: `ChatClient.ask(request) -> Answer`, cached.

The openai package does HTTP, timeouts and retries with backoff (Retry-After honoured). This module adds the cache
(`answer_cache`), the budget and the rate limit (`budget`), and tells errors of the endpoint, which stop the run, from
errors of a request, which cost one row. The key comes from OPENAI_API_KEY and is only put into the request's header.
"""

from __future__ import annotations

import ipaddress
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, field_validator

from swim.recipe import Frozen
from swimlab.llm.answer_cache import Answer, Answers, CompletionUsage, canonical, without_pictures
from swimlab.llm.budget import Budget, Prices, RateLimiter, Spending
from swimlab.store.provenance import utc_now

KEY_VARIABLE = "OPENAI_API_KEY"
_NO_KEY = "none"  # local servers want no key, the client wants some text
# The endpoint counts as down after this many failures in a row, each despite retries.
GIVE_UP_AFTER = 20
_LOCKS = 4096
# What a picture counts for in limits of rate and cost: the most that GPT-4o makes of one. Others count by its size.
PICTURE_TOKENS = 1_105
_LOOK_AGAIN_S = 0.05
_RETRY_HINT = "run the same command again: stored answers are kept"


class EndpointError(Exception):
    """No request can succeed, or none may be sent any more. The message says what to do; stored answers are kept."""


class RequestError(Exception):
    """This request has no answer; others may have one. `reason` and `hint` as in DataError. `charged`: the server may
    have charged for it although there is no usable answer. `lasting`: it refuses this very request, and would again."""

    def __init__(self, reason: str, hint: str, charged: bool, lasting: bool = False) -> None:
        super().__init__(f"{reason} ({hint})")
        self.reason, self.hint, self.charged, self.lasting = reason, hint, charged, lasting


class EndpointConfig(Frozen):
    """Server, model and request parameters.

    `params` are added to the request as they are, beside model, messages and response format. `structured`: json-schema
    enforces the schema; json-object enforces only JSON, for servers without schema support.
    """

    base_url: str = "https://api.openai.com/v1"
    model: str
    structured: Literal["json-schema", "json-object"] = "json-schema"
    params: dict[str, Any] = Field(default_factory=lambda: {"temperature": 0, "seed": 0, "max_tokens": 500})
    timeout_s: float = Field(60.0, gt=0)
    retries: int = Field(6, ge=0)
    requests_per_minute: float | None = Field(None, gt=0)
    tokens_per_minute: float | None = Field(None, gt=0)
    prices: Prices = Prices()

    @field_validator("base_url")
    @classmethod
    def _plain_url(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("give http(s)://host/…, up to and with the version (/v1)")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError(
                f"a URL must not contain credentials: give the plain address, and the key in {KEY_VARIABLE}"
            )
        return url.rstrip("/")

    @field_validator("params")
    @classmethod
    def _parameters(cls, params: dict[str, Any]) -> dict[str, Any]:
        if taken := sorted({"model", "messages", "response_format", "stream", "n"} & set(params)):
            raise ValueError(f"{', '.join(taken)} cannot be set here")
        canonical(params)
        return params

    @property
    def max_answer_tokens(self) -> int | None:
        """The most tokens an answer may have, or None when `params` do not say."""
        limits = [self.params.get(name) for name in ("max_tokens", "max_completion_tokens")]
        return next((limit for limit in limits if isinstance(limit, int)), None)

    def request(
        self, messages: Sequence[Mapping[str, Any]], schema: Mapping[str, Any] | None = None, name: str = ""
    ) -> dict[str, Any]:
        """The body of a request, which is also the cache key. The content of a message is a text, or a list of parts
        (texts and pictures) as OpenAI has them. `name` of the schema: letters and underscores; without a schema the
        answer is free text."""
        request: dict[str, Any] = {"model": self.model, "messages": list(messages), **self.params}
        if schema is not None and self.structured == "json-schema":
            form = {"name": name, "strict": True, "schema": schema}
            request["response_format"] = {"type": "json_schema", "json_schema": form}
        elif schema is not None:
            request["response_format"] = {"type": "json_object"}
        return request


def key_for(base_url: str) -> str:
    """The key for a server. Raises EndpointError when there is none and the server is not on this machine."""
    if key := os.environ.get(KEY_VARIABLE, "").strip():
        return key
    host = urlsplit(base_url).hostname or ""
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost" or host.endswith(".localhost")
    if not local:
        raise EndpointError(
            f"no key for {base_url}: set {KEY_VARIABLE} in the environment of the process that asks (on a cluster, of "
            "its nodes; a key on a command line or in a runtime environment can be read by others)"
        )
    return _NO_KEY


class ChatClient:
    """A server with its cached answers and one process's share of the limits. Safe to use from many threads.

    `count` estimates the tokens of a text, for the rate limit. Raises EndpointError when there is no key.
    """

    def __init__(
        self,
        config: EndpointConfig,
        answers: Answers,
        *,
        budget: Spending | None = None,
        share: float = 1.0,
        count: Callable[[str], int] = lambda text: len(text) // 4,
    ) -> None:
        import openai

        self.config, self._answers, self._count = config, answers, count
        self._budget = budget or Budget()
        self._pace = RateLimiter(config.requests_per_minute, config.tokens_per_minute, share)
        self._key = key_for(config.base_url)
        self._here = threading.local()
        self._lock = threading.Lock()
        # Equal requests share a lock: the second waits for the first one's answer.
        self._locks = [threading.Lock() for _ in range(_LOCKS)]
        self._failed_in_a_row = 0
        self.sent = 0
        self._client = openai.OpenAI(
            base_url=config.base_url,
            api_key=self._key,
            max_retries=config.retries,
            timeout=config.timeout_s,
            # The hook runs for every attempt, also for the client's own retries.
            http_client=openai.DefaultHttpxClient(event_hooks={"request": [self._leaving]}),
        )

    def ask(self, request: dict[str, Any]) -> Answer:
        """The answer to a request of `EndpointConfig.request`, from the store if there is one.

        A new answer is stored before it is returned. Raises RequestError when this request fails, EndpointError when no
        request can succeed or may be sent, StoreError.
        """
        with self._locks[hash(canonical(without_pictures(request))) % _LOCKS]:
            return self._answers.find(request) or self._ask(request)

    def _ask(self, request: dict[str, Any]) -> Answer:
        most = self.most(request)
        while (refused := self._budget.reserve(most)) is None:
            time.sleep(_LOOK_AGAIN_S)
        if refused:
            raise EndpointError(refused)
        cost = 0.0
        try:
            answer = self._answers.put(request, self._sent(request))
            usage = answer.usage
            counted = usage.prompt_tokens is not None and usage.completion_tokens is not None
            cost = self.config.prices.cost(usage) if counted else most
        except RequestError as error:
            cost = most if error.charged else 0.0
            raise
        finally:
            self._budget.settle(most, cost)
        return answer

    def most(self, request: dict[str, Any]) -> float:
        """The most that a request can cost: a token of text has at least one byte. Without a limit on the answer's
        tokens only the prompt counts; pictures count `PICTURE_TOKENS` each."""
        pictures = sum(part["type"] != "text" for part in _parts(request))
        prompt_tokens = len(canonical(without_pictures(request))) + pictures * PICTURE_TOKENS
        return self.config.prices.cost(
            CompletionUsage(prompt_tokens=prompt_tokens, completion_tokens=self.config.max_answer_tokens)
        )

    def _sent(self, request: dict[str, Any]) -> Answer:
        import openai

        prompt = sum(self._count(p["text"]) if p["type"] == "text" else PICTURE_TOKENS for p in _parts(request))
        self._here.tokens = prompt + (self.config.max_answer_tokens or 0)
        try:
            create: Any = self._client.chat.completions.create
            named = ("model", "messages", "response_format")
            arguments = {name: request[name] for name in named if name in request}
            answer = self._read(create(**arguments, extra_body=self.config.params))
        except openai.APIStatusError as error:
            raise self._status(error) from None  # the cause holds the request, and with it the key
        except openai.APITimeoutError:
            why = f"the endpoint gave no answer within {self.config.timeout_s:g} s, {self.config.retries + 1} times"
            raise self._failed(why, charged=True) from None
        except openai.APIConnectionError as error:
            why = f"no connection to the endpoint, {self.config.retries + 1} times ({type(error.__cause__).__name__})"
            raise self._failed(why, charged=True) from None
        except (openai.OpenAIError, ValueError, TypeError, AttributeError, LookupError) as error:
            why = f"the endpoint's answer is no chat completion ({type(error).__name__})"
            raise self._failed(why, charged=True) from None
        self._failed_in_a_row = 0
        return answer

    def _leaving(self, _: Any) -> None:
        self._pace.wait(self._here.tokens)
        with self._lock:
            self.sent += 1

    def _read(self, completion: Any) -> Answer:
        choice, counted = completion.choices[0], completion.usage
        return Answer(
            text=self._clean(choice.message.content or ""),
            refusal=self._clean(choice.message.refusal or ""),
            finish=choice.finish_reason or "",
            usage=CompletionUsage(
                prompt_tokens=counted.prompt_tokens if counted else None,
                completion_tokens=counted.completion_tokens if counted else None,
            ),
            model=completion.model or "",
            server=self.config.base_url,
            answered_at=utc_now(),
        )

    def _status(self, error: Any) -> Exception:
        code = error.status_code
        message = self._clean(" ".join(str(error.message).removeprefix(f"Error code: {code} - ").split()))[:300]
        if code in (401, 403):
            return EndpointError(
                f"{self.config.base_url} does not accept the key in {KEY_VARIABLE} ({code}): {message}"
            )
        if code == 404:
            return EndpointError(
                f"{self.config.base_url} has no model {self.config.model!r}, or no such path: {message}"
            )
        if code == 429 and error.code == "insufficient_quota":
            return EndpointError(f"{self.config.base_url}: the account's quota is used up: {message}")
        if code in (408, 409, 429) or code >= 500:
            return self._failed(f"the endpoint answers every attempt with status {code}: {message}")
        hint = "the server refuses this request: shorten the row, or correct --params and --structured"
        return self._failed(f"the endpoint refuses with status {code}: {message}", hint, lasting=True)

    def _failed(self, reason: str, hint: str = _RETRY_HINT, charged: bool = False, lasting: bool = False) -> Exception:
        with self._lock:
            self._failed_in_a_row += 1
            over = self._failed_in_a_row >= GIVE_UP_AFTER
        if over:
            return EndpointError(f"{GIVE_UP_AFTER} requests in a row failed; the last one, {reason} ({hint})")
        return RequestError(reason, hint, charged, lasting)

    def _clean(self, text: str) -> str:
        """Removes the key, which some servers repeat in their error messages."""
        return text if self._key == _NO_KEY else text.replace(self._key, "…")


def _parts(request: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The texts and pictures of a request's messages."""
    for message in request["messages"]:
        content = message["content"]
        yield from [{"type": "text", "text": content}] if isinstance(content, str) else content
