"""A real HTTP server on the loopback interface that serves files the way servers do, and fails the way they fail."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from unittest.mock import patch

from cvbench.storage.downloads.public import ALLOW


class FileServer:
    """What is served, and how.

    Attributes:
        files: Path -> contents.
        cuts: Path -> for each coming answer, after how many bytes of its body the connection is closed.
        status: Path -> for each coming answer, the status to fail with.
        ranges: Whether Range is understood.
        versions: Whether an ETag is sent.
        lengths: Whether Content-Length is sent.
        types: Path -> Content-Type.
        redirects: Path -> where to.
        shifted: Path -> by how many bytes the ranges it sends are beside those it was asked for.
        chunked: Paths that are sent in chunks, without a length.
        seen: (path, Range header) of every request.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.cuts: dict[str, list[int]] = {}
        self.status: dict[str, list[int]] = {}
        self.ranges = True
        self.versions = True
        self.lengths = True
        self.types: dict[str, str] = {}
        self.redirects: dict[str, str] = {}
        self.shifted: dict[str, int] = {}
        self.chunked: set[str] = set()
        self.seen: list[tuple[str, str | None]] = []
        self.url = ""


@contextmanager
def serving() -> Iterator[FileServer]:
    """A server for the duration of a block, in which a download may ask it although it is on this machine."""
    state = FileServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # which has chunks
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            answer(self, state)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        with patch.dict(os.environ, {ALLOW: "127.0.0.1"}):
            yield state
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def answer(request: BaseHTTPRequestHandler, state: FileServer) -> None:
    """One answer."""
    path, wanted = request.path, request.headers.get("Range")
    state.seen.append((path, wanted))
    failures = state.status.get(path, [])
    if failures:
        request.send_error(failures.pop(0))
        return
    if path in state.redirects:
        request.send_response(302)
        request.send_header("Location", state.redirects[path])
        request.end_headers()
        return
    if path not in state.files:
        request.send_error(404)
        return
    body = state.files[path]
    tag = f'"{hashlib.sha256(body).hexdigest()[:12]}"'
    start = 0
    if wanted and state.ranges and request.headers.get("If-Range", tag) == tag:
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if start >= len(body):
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{len(body)}")
            request.end_headers()
            return
        start = max(0, start + state.shifted.get(path, 0))
        request.send_response(206)
        request.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
    else:
        request.send_response(200)
    request.send_header("Connection", "close")
    if path in state.chunked:
        request.send_header("Transfer-Encoding", "chunked")
    elif state.lengths:
        request.send_header("Content-Length", str(len(body) - start))
    if state.versions:
        request.send_header("ETag", tag)
    request.send_header("Content-Type", state.types.get(path, "application/octet-stream"))
    request.end_headers()
    cuts = state.cuts.get(path, [])
    if path in state.chunked:
        for at in range(start, len(body), 8192):
            chunk = body[at : at + 8192]
            request.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
        request.wfile.write(b"0\r\n\r\n")
        request.close_connection = True
        return
    request.wfile.write(body[start : start + cuts.pop(0)] if cuts else body[start:])
    request.close_connection = True
