"""Uploading: by the hub's own library, to a server that speaks its protocol; no token is printed."""

import base64
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest

from swimlab.checkpoints.push import push

TOKEN = "hf_secretsecretsecretsecretsecretse"


class _Hub(BaseHTTPRequestHandler):
    """One repository; every file is small enough to be sent within the commit."""

    server: Any

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        asked = self.path.partition("?")[0]
        self.server.asked.append((asked, content))
        url = f"http://{self.headers['Host']}"
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._send(401, {"error": "Invalid username or password."})
        elif asked == "/api/repos/create":
            self._send(200, {"url": f"{url}/somebody/swim", "id": "1", "name": "somebody/swim"})
        elif "/preupload/" in asked:
            files = [
                {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                for f in json.loads(content)["files"]
            ]
            self._send(200, {"files": files})
        elif "/commit/" in asked:
            self._send(200, {"commitUrl": f"{url}/somebody/swim/commit/{'a' * 40}", "commitOid": "a" * 40})
        else:
            self._send(200, {"errors": []})

    def do_GET(self) -> None:
        self._send(404, {"error": "not found"})

    def _send(self, code: int, content: dict[str, Any]) -> None:
        data = json.dumps(content).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), _Hub)
    server.asked = []
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield server
    server.shutdown()
    server.server_close()


def test_every_file_is_sent_to_a_private_repository(hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    (tmp_path / "config.json").write_text('{"a": 1}')
    (tmp_path / "README.md").write_text("card")
    address = push(tmp_path, "somebody/swim")
    assert address.endswith(f"/somebody/swim/commit/{'a' * 40}")
    asked = dict(hub.asked)
    assert json.loads(asked["/api/repos/create"])["visibility"] == "private"
    lines = [json.loads(line) for line in asked["/api/models/somebody/swim/commit/main"].splitlines()]
    sent = {
        line["value"]["path"]: base64.b64decode(line["value"]["content"]) for line in lines if line["key"] == "file"
    }
    assert sent == {"config.json": b'{"a": 1}', "README.md": b"card"}


@pytest.mark.parametrize("token", [None, "hf_wrong"])
def test_without_a_login_it_says_how_to_log_in(
    hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str | None
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "none"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_STORED_TOKENS_PATH", str(tmp_path / "no-tokens"))
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(OSError, match="hf auth login") as refused:
        push(tmp_path, "somebody/swim")
    assert "hf_wrong" not in str(refused.value)


def test_a_name_that_is_none_is_refused(hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with pytest.raises(ValueError, match="write it as owner/name"):
        push(tmp_path, "a/b/c")
    assert hub.asked == []


def test_a_hub_that_is_away_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(OSError, match="the hub cannot be reached") as refused:
        push(tmp_path, "somebody/swim")
    assert TOKEN not in str(refused.value)
