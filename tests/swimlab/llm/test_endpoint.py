"""The endpoint against a real HTTP server that misbehaves: who is to blame, what is paid, what is kept."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from llm_server import COMPLETION_TOKENS, PROMPT_TOKENS, Behaviour, Model, Reply
from pydantic import ValidationError

from swimlab.llm import client as module
from swimlab.llm.answer_cache import Answers, CompletionUsage, canonical
from swimlab.llm.budget import Budget, Prices
from swimlab.llm.client import ChatClient, EndpointConfig, EndpointError, RequestError, key_for
from swimlab.store.errors import StoreError
from swimlab.store.sweep_store import SweepStore

KEY = "sk-do-not-tell-anybody"
SCHEMA = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
SOON = {"Retry-After": "0.01"}


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.fixture
def serve() -> Iterator[Callable[[Behaviour], Model]]:
    models: list[Model] = []

    def start(behave: Behaviour) -> Model:
        models.append(Model(behave))
        return models[-1].__enter__()

    yield start
    for model in models:
        model.__exit__()


def endpoint(server: Model, folder: Path, ledger: Budget | None = None, **changes: Any) -> ChatClient:
    how = {"base_url": server.url, "model": "m", "retries": 2, "timeout_s": 5.0} | changes
    return ChatClient(EndpointConfig(**how), Answers(SweepStore(str(folder))), budget=ledger)


def question(asks: ChatClient, text: str = "What is it?") -> dict[str, Any]:
    return asks.config.request([{"role": "user", "content": text}], SCHEMA, "thing")


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_an_answer_is_kept_and_never_asked_for_again(serve: Any, tmp_path: Path) -> None:
    model = serve(lambda body, n: Reply('{"a": 1}'))
    asks = endpoint(model, tmp_path)
    first = asks.ask(question(asks))
    assert (first.text, first.finish, first.model, first.cached) == ('{"a": 1}', "stop", "m-001", False)
    assert first.usage == CompletionUsage(prompt_tokens=PROMPT_TOKENS, completion_tokens=COMPLETION_TOKENS)
    again = asks.ask(question(asks))
    elsewhere = endpoint(model, tmp_path, base_url=model.url.replace("127.0.0.1", "localhost"))
    assert again == elsewhere.ask(question(elsewhere)) == first.model_copy(update={"cached": True})
    assert (sum(model.asked.values()), asks.sent, elsewhere.sent) == (1, 1, 0)

    (body,) = model.bodies
    assert body == {
        "model": "m",
        "messages": [{"role": "user", "content": "What is it?"}],
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "thing", "strict": True, "schema": SCHEMA},
        },
        "temperature": 0,
        "seed": 0,
        "max_tokens": 500,
    }
    (file,) = files(tmp_path)
    assert file.parent.parent == tmp_path / "answers"
    assert file.parent.name == file.name[:2]
    kept = json.loads(file.read_text())
    assert kept["request"] == body
    assert kept["answer"]["usage"] == {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": COMPLETION_TOKENS}
    assert model.keys == {f"Bearer {KEY}"}
    assert KEY not in file.read_text()


@pytest.mark.parametrize(
    "change",
    [{"model": "n"}, {"params": {"temperature": 0, "seed": 1, "max_tokens": 500}}, {"structured": "json-object"}],
)
def test_whatever_decides_an_answer_makes_another_request(serve: Any, tmp_path: Path, change: dict[str, Any]) -> None:
    model = serve(lambda body, n: Reply("{}"))
    for asks in (endpoint(model, tmp_path), endpoint(model, tmp_path, **change)):
        asks.ask(question(asks))
    assert len(model.bodies) == 2
    if "structured" in change:
        assert model.bodies[1]["response_format"] == {"type": "json_object"}


@pytest.mark.fault(
    injection="a language model's server answers 429, 5xx, 408, drops or is late once",
    symptom="the row is rejected",
    expected="right: asked again",
)
@pytest.mark.parametrize(
    "fault",
    [
        Reply("slow down", status=429, headers=SOON),
        Reply("sorry", status=500, headers=SOON),
        Reply("sorry", status=503, headers=SOON),
        Reply("busy", status=408, headers=SOON),
        Reply("{}", drop="at once"),
        Reply("{}", drop="halfway"),
        Reply("{}", wait_s=1.0),
    ],
    ids=lambda fault: f"{fault.status}{fault.drop}{fault.wait_s or ''}",
)
def test_what_may_pass_is_tried_again(serve: Any, tmp_path: Path, fault: Reply) -> None:
    model = serve(lambda body, n: Reply('{"a": 1}') if n else fault)
    asks = endpoint(model, tmp_path, timeout_s=0.4)
    assert asks.ask(question(asks)).text == '{"a": 1}'
    assert asks.sent == 2
    assert len(files(tmp_path)) == 1


@pytest.mark.fault(
    injection="a language model's server answers no completion, however often",
    symptom="the run ends, or rubbish becomes a row",
    expected="error costs that row and says why",
)
@pytest.mark.parametrize(
    ("fault", "reason", "charged"),
    [
        (Reply("slow down", status=429, headers=SOON), "every attempt with status 429: slow down", False),
        (Reply("sorry", status=500, headers=SOON), "every attempt with status 500: sorry", False),
        (Reply(wait_s=1.0), r"no answer within 0\.3 s, 2 times", True),
        (Reply(drop="at once"), "no connection to the endpoint, 2 times", True),
        (Reply("too long", status=400), "refuses with status 400: too long", False),
        (Reply("no such field", status=422), "status 422: no such field", False),
        (Reply(body=b"{not json"), "no chat completion", True),
        (Reply(body=b'{"choices": []}'), "no chat completion", True),
        (Reply(body=b"[1]"), "no chat completion", True),
        (Reply(body=b'{"choices": [{"message": {"content": 5}}]}'), "no chat completion", True),
        (Reply(body=b"<html>", headers={"Content-Type": "text/html"}), "no chat completion", True),
    ],
)
def test_a_request_without_an_answer_costs_one_row(
    serve: Any, tmp_path: Path, fault: Reply, reason: str, charged: bool
) -> None:
    model = serve(lambda body, n: fault)
    asks = endpoint(model, tmp_path, retries=1, timeout_s=0.3)
    with pytest.raises(RequestError, match=reason) as error:
        asks.ask(question(asks))
    assert error.value.hint
    assert error.value.charged is charged
    assert files(tmp_path) == []
    model.behave = lambda body, n: Reply("{}")
    assert asks.ask(question(asks)).text == "{}"


@pytest.mark.fault(
    injection="a language model's server refuses key, model or account",
    symptom="every row is rejected one by one; the key is printed",
    expected="error stops the run and hides the key",
)
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (Reply(f"wrong key {KEY}", status=401), r"does not accept the key in OPENAI_API_KEY \(401\): wrong key …"),
        (Reply("not yours", status=403), "does not accept the key"),
        (Reply("no model m", status=404), "has no model 'm', or no such path: no model m"),
        (
            Reply(status=429, body=b'{"error": {"message": "pay", "code": "insufficient_quota"}}', headers=SOON),
            "the account's quota is used up",
        ),
    ],
)
def test_what_no_request_can_pass_stops_the_run(serve: Any, tmp_path: Path, fault: Reply, reason: str) -> None:
    model = serve(lambda body, n: fault)
    asks = endpoint(model, tmp_path)
    with pytest.raises(EndpointError, match=reason) as error:
        asks.ask(question(asks))
    assert KEY not in str(error.value) + repr(error.value.__cause__)


@pytest.mark.fault(
    injection="a language model's server fails every request",
    symptom="hours of retries",
    expected="error after a bounded number",
)
def test_an_endpoint_that_fails_every_time_is_given_up(
    serve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GIVE_UP_AFTER", 3)
    model = serve(lambda body, n: Reply("no", status=400))
    asks = endpoint(model, tmp_path)

    def ask(number: int) -> None:
        asks.ask(question(asks, f"question {number}"))

    for number in range(2):
        with pytest.raises(RequestError):
            ask(number)
    model.behave = lambda body, n: Reply("{}")
    ask(2)  # an answer in between: it is not down
    model.behave = lambda body, n: Reply("no", status=400)
    for number in (3, 4):
        with pytest.raises(RequestError):
            ask(number)
    with pytest.raises(
        EndpointError, match="3 requests in a row failed; the last one, the endpoint refuses with status 400: no"
    ):
        ask(5)


def test_equal_requests_at_the_same_time_are_asked_once(serve: Any, tmp_path: Path) -> None:
    model = serve(lambda body, n: Reply("{}", wait_s=0.2))
    asks = endpoint(model, tmp_path)
    texts: list[str] = []

    def ask(number: int) -> None:
        texts.append(asks.ask(question(asks, f"question {number % 2}")).text)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == ["{}"] * 8
    assert sorted(model.asked.values()) == [1, 1]
    assert model.most_at_once == 2


def test_refusals_and_missing_counts_are_reported(serve: Any, tmp_path: Path) -> None:
    model = serve(lambda body, n: Reply("", refusal=f"I will not {KEY}", finish="stop", usage=False))
    asks = endpoint(model, tmp_path)
    answer = asks.ask(question(asks))
    assert (answer.text, answer.refusal, answer.usage) == ("", "I will not …", CompletionUsage())
    assert KEY not in "".join(file.read_text() for file in files(tmp_path))


@pytest.mark.fault(
    injection="requests in parallel at the end of a budget",
    symptom="together they exceed it",
    expected="error before the request",
)
def test_no_request_leaves_that_could_exceed_the_budget(serve: Any, tmp_path: Path) -> None:
    model = serve(lambda body, n: Reply("{}", usage=True))
    prices = Prices(prompt=1e4, completion=1e4)
    asks = endpoint(model, tmp_path, Budget(None), prices=prices)
    most = asks.most(question(asks, "question 0"))
    real = prices.cost(CompletionUsage(prompt_tokens=PROMPT_TOKENS, completion_tokens=COMPLETION_TOKENS))
    assert real < most / 2

    ledger = Budget(most + 1.5 * real)
    asks = endpoint(model, tmp_path, ledger, prices=prices)
    for number in range(2):  # the second: real + most is still within
        asks.ask(question(asks, f"question {number}"))
    with pytest.raises(EndpointError, match=r"--max-cost is"):
        asks.ask(question(asks, "question 2"))
    assert asks.ask(question(asks, "question 0")).cached
    assert ledger.spent_and_pending() == (pytest.approx(2 * real), 0)
    assert sum(model.asked.values()) == 2


@pytest.mark.parametrize(("fault", "charged"), [(Reply(body=b"{"), True), (Reply("no", status=400), False)])
def test_a_request_that_came_to_nothing_is_settled(serve: Any, tmp_path: Path, fault: Reply, charged: bool) -> None:
    ledger = Budget(1.0)
    asks = endpoint(serve(lambda body, n: fault), tmp_path, ledger, prices=Prices(prompt=1.0, completion=1.0))
    with pytest.raises(RequestError):
        asks.ask(question(asks))
    assert ledger.spent_and_pending() == (pytest.approx(asks.most(question(asks)) if charged else 0.0), 0)


def test_an_answer_without_counts_is_counted_at_its_most(serve: Any, tmp_path: Path) -> None:
    ledger = Budget(1.0)
    model = serve(lambda body, n: Reply("{}", usage=False))
    asks = endpoint(model, tmp_path, ledger, prices=Prices(prompt=1.0, completion=1.0))
    asks.ask(question(asks))
    assert ledger.spent_and_pending()[0] == asks.most(question(asks)) == (len(canonical(question(asks))) + 500) / 1e6


@pytest.mark.fault(
    injection="a stored answer of a language model is damaged",
    symptom="it is paid for again, or half of it is used",
    expected="error names the file",
)
def test_a_damaged_answer_is_named_and_not_paid_again(serve: Any, tmp_path: Path) -> None:
    model = serve(lambda body, n: Reply("{}"))
    asks = endpoint(model, tmp_path)
    asks.ask(question(asks))
    (file,) = files(tmp_path)
    whole = json.loads(file.read_text())
    for damaged in ("{", "[]", json.dumps(whole | {"request": {}}), json.dumps(whole | {"answer": {"text": 5}})):
        file.chmod(0o644)
        file.write_text(damaged)
        with pytest.raises(StoreError, match=rf"{file.name} is no answer .* delete it to ask"):
            asks.ask(question(asks))
    assert asks.sent == 1


def test_the_first_answer_counts(tmp_path: Path) -> None:
    from swimlab.llm.answer_cache import Answer

    answers, request = Answers(SweepStore(str(tmp_path))), {"model": "m"}
    assert answers.put(request, Answer(text="first")).text == "first"
    late = answers.put(request, Answer(text="second"))
    assert (late.text, late.cached) == ("first", True)


@pytest.mark.parametrize("url", ["http://localhost:1/v1", "http://127.0.0.5/v1", "http://[::1]:8/v1"])
def test_a_local_server_needs_no_key(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    assert key_for(url) == "none"


@pytest.mark.parametrize("key", [None, " "])
def test_any_other_server_does(key: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    if key:
        monkeypatch.setenv("OPENAI_API_KEY", key)
    for url in ("https://api.openai.com/v1", "http://10.0.0.1/v1", "http://localhost.example.com/v1"):
        with pytest.raises(EndpointError, match=r"no key for .*: set OPENAI_API_KEY in the environment"):
            ChatClient(EndpointConfig(base_url=url, model="m"), Answers(SweepStore(str(tmp_path))))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("base_url", "localhost:8000/v1"),
        ("base_url", "ftp://host/v1"),
        ("base_url", "https://user:secret@host/v1"),
        ("base_url", "https://host/v1?key=secret"),
        ("params", {"messages": []}),
        ("params", {"stream": True}),
        ("params", {"temperature": float("nan")}),
        ("timeout_s", 0),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(field: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        EndpointConfig(model="m", **{field: value})
