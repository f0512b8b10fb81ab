"""A language model's HTTP server for tests: answers by rule, and misbehaves as told. It counts what it is asked."""

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PROMPT_TOKENS, COMPLETION_TOKENS = 100, 20
KEY = "sk-never-to-be-seen-anywhere"  # workers of the tests' shared Ray have it as OPENAI_API_KEY


@dataclass(frozen=True)
class Reply:
    """What is sent. `body` replaces the completion, `drop` closes the connection without a word, or in the middle of
    the body, `wait_s` comes before all."""

    text: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    refusal: str | None = None
    finish: str = "stop"
    usage: bool = True
    drop: str = ""
    wait_s: float = 0.0


def oracle(body: dict[str, Any]) -> str:
    """What a good model would say: of the n-th mark, the subject of the n-th described object."""
    asked = body["messages"][1]["content"]
    if body["messages"][0]["content"].startswith("You replace nouns"):
        return json.dumps({"synonyms": [f"{noun}oid" for noun in re.findall(r"\[\d+: (\w+)\]", asked)], "cannot": ""})
    answers = asked.partition("Assistant:")[2]
    named = re.findall(r"\b[Tt]he ((?:\w+ )*?)(\w+) (?:is|runs|stands)\b", answers)
    found = [{"expression": f"the {before}{noun}", "noun": noun} for before, noun in named]
    return json.dumps({"referents": found[: len(set(re.findall(r"\[\d+\]", asked)))], "cannot": ""})


Behaviour = Callable[[dict[str, Any], int], Reply]


class Model:
    """`with Model(behave) as model: … model.url`. `behave(body, n)` is asked for each request, `n` being how often
    these very messages came before."""

    def __init__(self, behave: Behaviour = lambda body, _: Reply(oracle(body))) -> None:
        self.behave = behave
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.bodies: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()

    def __enter__(self) -> "Model":
        model = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                model.serve(self)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def serve(self, http: BaseHTTPRequestHandler) -> None:
        body = json.loads(http.rfile.read(int(http.headers["Content-Length"])))
        name = json.dumps(body["messages"])
        with self.lock:
            before = self.asked[name]
            self.asked[name] += 1
            self.bodies.append(body)
            self.keys.add(http.headers.get("Authorization", ""))
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            self.send(http, body, self.behave(body, before), name)
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            with self.lock:
                self.at_once -= 1

    def send(self, http: BaseHTTPRequestHandler, body: dict[str, Any], reply: Reply, name: str) -> None:
        time.sleep(reply.wait_s)
        if reply.drop == "at once":
            http.close_connection = True
            return
        content = reply.body if reply.body is not None else json.dumps(completion(body, reply)).encode()
        http.send_response(reply.status)
        for header, value in {"Content-Type": "application/json", **reply.headers}.items():
            http.send_header(header, value)
        http.send_header("Content-Length", str(len(content)))
        http.end_headers()
        if reply.drop == "halfway":
            http.wfile.write(content[: len(content) // 2])
            http.close_connection = True
            return
        http.wfile.write(content)
        http.wfile.flush()
        if reply.status == 200 and reply.body is None:
            with self.lock:
                self.answered[name] += 1


def completion(body: dict[str, Any], reply: Reply) -> dict[str, Any]:
    """A chat completion, or an error as OpenAI words it."""
    if reply.status != 200:
        return {"error": {"message": reply.text, "type": "error", "code": None}}
    message = {"role": "assistant", "content": reply.text, "refusal": reply.refusal}
    usage = {"prompt_tokens": PROMPT_TOKENS, "completion_tokens": COMPLETION_TOKENS, "total_tokens": 120}
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": f"{body['model']}-001",
        "choices": [{"index": 0, "message": message, "finish_reason": reply.finish, "logprobs": None}],
        **({"usage": usage} if reply.usage else {}),
    }
