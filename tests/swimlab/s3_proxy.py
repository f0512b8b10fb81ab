"""A proxy before the S3 server of the tests, which answers some requests with a fault instead."""

import http.client
import socket
import struct
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Reply = tuple[int, bytes]  # status and body; the body of an answer of S3's, or anybody's
RESET: Reply = (0, b"")  # the connection is reset without an answer


def refusal(status: int, code: str) -> Reply:
    """S3's error of this code."""
    return status, f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>injected</Message></Error>'.encode()


class Proxy(ThreadingHTTPServer):
    """`fault(method, path)`: the reply to give, or None to pass the request on. `lost`: likewise, for a request that
    reaches the server and whose answer is replaced. `changed`: the body to hand on in place of an answer's, and the
    length that its header says; a shorter body ends with the connection. `sent`: methods and paths of all requests."""

    daemon_threads = True

    def __init__(self, upstream: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = upstream.removeprefix("http://")
        self.fault: Callable[[str, str], Reply | None] = lambda method, path: None
        self.lost: Callable[[str, str], Reply | None] = lambda method, path: None
        self.changed: Callable[[str, str, bytes], tuple[bytes, int] | None] = lambda method, path, body: None
        self.sent: list[tuple[str, str]] = []
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def fail(self, count: int, reply: Reply, method: str = "") -> None:
        """The next `count` requests (of a method) get this reply."""
        left = [count]

        def fault(sent: str, path: str) -> Reply | None:
            with self.lock:
                if method not in ("", sent) or left[0] == 0:
                    return None
                left[0] -= 1
                return reply

        self.fault = fault

    def handle_error(self, *_: object) -> None:
        """Clients may leave."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def log_message(self, *_: object) -> None:
        """Nothing is printed."""

    def _handle(self) -> None:
        body = self._body()
        with self.server.lock:
            self.server.sent.append((self.command, self.path))
        if reply := self.server.fault(self.command, self.path):
            self._answer(*reply)
            return
        connection = http.client.HTTPConnection(self.server.upstream, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP}
        connection.request(self.command, self.path, body, headers | {"Content-Length": str(len(body))})
        answer = connection.getresponse()
        data = answer.read()
        if reply := self.server.lost(self.command, self.path):
            self._answer(*reply)
            return
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in (*_HOP, "server", "date"):
                self.send_header(name, value)
        length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(data))
        if change := self.server.changed(self.command, self.path, data):
            data, length = change[0], str(change[1])
            self.close_connection = True
        self.send_header("Content-Length", length or "0")
        self.end_headers()
        self.wfile.write(data)
        connection.close()

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _handle

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _answer(self, status: int, body: bytes) -> None:
        if status == 0:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
            return
        self.send_response(status)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


_HOP = ("content-length", "transfer-encoding", "connection", "expect")
