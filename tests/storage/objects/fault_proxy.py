"""A proxy on the loopback interface between cvbench and a real object service: it misbehaves as it is told to.

    with FaultProxy(endpoint) as proxy:
        proxy.script("cut", times=2, method="GET")     # the next two bodies end in the middle
        proxy.random("reset", share=0.1, seed=0)       # each request at 10 %

Faults: a status (500, 503, 429), `slow`, `cut` (half a body, then the end of the connection), `lost` (the service has
done it, the client is not told), `reset` (not done), `expired` (400, as S3 says it), `denied` (403).
"""

from __future__ import annotations

import http.client
import random
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Literal
from urllib.parse import urlsplit

Fault = Literal["500", "503", "429", "slow", "cut", "lost", "reset", "expired", "denied"]
_ERROR = "<?xml version='1.0' encoding='UTF-8'?><Error><Code>{}</Code><Message>{}</Message>{}</Error>"
_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}
SLOW = 0.3  # seconds


class FaultProxy:
    """Forwards every request to `endpoint`, but for those that the plan says; counts the faults."""

    def __init__(self, endpoint: str) -> None:
        self._at = urlsplit(endpoint)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Handler, self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._lock = threading.Lock()
        self._plan: Callable[[str, str], Fault | None] = lambda method, path: None
        self.count: Counter[str] = Counter()
        self.requests: list[tuple[str, str]] = []

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> FaultProxy:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def well(self) -> None:
        """Misbehave no more."""
        self._plan = lambda method, path: None

    def script(self, fault: Fault, *, times: int = 1_000_000, method: str = "", path: str = "", after: int = 0) -> None:
        """Misbehave at the next requests whose method is that and whose path the pattern is found in.

        Args:
            times: How many.
            after: Let so many pass before.
        """
        seen = 0

        def plan(asked: str, at: str) -> Fault | None:
            nonlocal seen
            if method not in ("", asked) or not re.search(path, at):
                return None
            seen += 1
            return fault if after < seen <= after + times else None

        self._plan = plan

    def random(self, fault: Fault, *, share: float, seed: int, method: str = "", path: str = "") -> None:
        """Misbehave at this share of such requests."""
        drawn = random.Random(seed)
        self._plan = lambda asked, at: (
            fault if method in ("", asked) and re.search(path, at) and drawn.random() < share else None
        )

    def next_fault(self, method: str, path: str) -> Fault | None:
        """Note a request; what the plan does to it."""
        with self._lock:
            self.requests.append((method, path))
            fault = self._plan(method, path)
            if fault is not None:
                self.count[fault] += 1
            return fault

    def forward(
        self, method: str, path: str, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        """Ask the service: status, headers by name in small letters, body."""
        connection = http.client.HTTPConnection(self._at.hostname or "", self._at.port, timeout=60)
        try:
            connection.request(method, path, body or None, headers)
            answer = connection.getresponse()
            kept = {name.lower(): value for name, value in answer.getheaders()}
            return answer.status, kept, answer.read()
        finally:
            connection.close()


class _Handler(BaseHTTPRequestHandler):
    """Answers the requests of one connection as the proxy says."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else a body waits 40 ms until the client has acknowledged the header

    def __init__(self, proxy: FaultProxy, *connection: Any) -> None:
        self._proxy = proxy
        super().__init__(*connection)  # answers them all

    def handle_one_request(self) -> None:
        try:
            super().handle_one_request()
        except ConnectionError:  # the client went away
            self.close_connection = True

    def _any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self._proxy.next_fault(self.command, self.path)
        if fault == "reset":
            self._drop()
        elif fault in ("500", "503", "429"):
            self._answer(int(fault), {}, _ERROR.format("SlowDown", "later", "").encode())
        elif fault in ("expired", "denied"):
            self._answer(400 if fault == "expired" else 403, {}, _refusal(fault, dict(self.headers)))
        else:
            if fault == "slow":
                time.sleep(SLOW)
            status, headers, data = self._proxy.forward(self.command, self.path, dict(self.headers), body)
            if fault == "lost":
                self._drop()
            else:
                self._answer(status, headers, data, cut=fault == "cut")

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _any

    def _answer(self, status: int, headers: dict[str, str], data: bytes, *, cut: bool = False) -> None:
        self.send_response(status)
        kept = {name: value for name, value in headers.items() if name.lower() not in _HOP}
        length = headers.get("content-length") if self.command == "HEAD" else None
        for name, value in (kept | {"Content-Length": length or str(len(data))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data[: len(data) // 2] if cut else data)
        if cut:
            self.wfile.flush()
            self._end(linger=False)

    def _drop(self) -> None:
        self._end(linger=True)

    def _end(self, *, linger: bool) -> None:
        self.close_connection = True
        if linger:  # a reset instead of an end
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        else:
            self.connection.shutdown(socket.SHUT_RDWR)

    def log_message(self, *_: object) -> None:
        """Silent."""


def _refusal(fault: Fault, headers: dict[str, str]) -> bytes:
    """What S3 says: of a refused key it repeats the key, and the token of an expired one."""
    token = headers.get("x-amz-security-token", "")
    key = re.search(r"Credential=([^/]+)/", headers.get("Authorization", headers.get("authorization", "")))
    more = f"<Token-0>{token}</Token-0><AWSAccessKeyId>{key[1] if key else ''}</AWSAccessKeyId>"
    if fault == "expired":
        return _ERROR.format("ExpiredToken", "The provided token has expired.", more).encode()
    return _ERROR.format("InvalidAccessKeyId", "The key does not exist in our records.", more).encode()
