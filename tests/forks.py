"""The command line as a process of its own, without the seconds in which a new Python imports torch.

A server that has imported everything forks a process for each command (`serve`, at the end). That process is as one
started from a terminal: it leads its own session, so that a signal to its group reaches it and what it starts; it
takes interrupts; it finds what is on its own PYTHONPATH; it runs `cvbench.cli.main` with its words and ends as the
interpreter ends. Only its imports were done before, and its hash seed is the server's.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from typing import NamedTuple, NoReturn, Protocol

from tests.patience import be_patient

PRELOADED = (
    *(
        "torch",
        "timm",
        "torchvision",
        "ray.train",
        "matplotlib.backends.backend_agg",
        "matplotlib.backends.backend_svg",
    ),
    *(
        "cvbench.jobs.extraction.extract",
        "cvbench.jobs.registry",
        "cvbench.jobs.report",
        "cvbench.jobs.transfer.finetune",
    ),
)
"""What no command need import again. Commands themselves are not among it: their import lists the plugins."""
_NOTHING: Mapping[str, str] = {}
NUMBER = 8
"""Bytes of a number on the way: of a length, a process, how it ended."""


class Forked:
    """A running command, as far as tests need `subprocess.Popen`. Its output goes to files, so it never waits."""

    def __init__(self, reply: socket.socket, pid: int, out: int, err: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._reply, self._files = reply, (out, err)
        self._said = ("", "")

    def poll(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, as `subprocess.Popen.wait` gives it: minus the number of the signal that ended it."""
        code = self._look(timeout)
        if code is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired("cvbench", timeout)
        return code

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for the end, then (stdout, stderr)."""
        self.wait(timeout)
        return self._said

    def send_signal(self, number: int) -> None:
        """Signal this process alone; one that has ended meanwhile hears nothing."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> bool:
        """Kill this process alone, as a lost machine would; False if it has ended by itself."""
        self.send_signal(signal.SIGKILL)
        return self.wait() == -signal.SIGKILL

    def _look(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._reply], [], [], timeout)[0]:
            status = _received(self._reply)
            self._reply.close()
            self._said = _text(self._files[0]), _text(self._files[1])
            self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


class Start(Protocol):
    """Starts the command line with these words, and with more in its environment."""

    def __call__(self, words: Sequence[str], more: Mapping[str, str] = ..., /) -> Forked: ...


def _received(reply: socket.socket) -> int:
    number = reply.recv(NUMBER, socket.MSG_WAITALL)
    assert number, "the fork server has ended"
    return int.from_bytes(number, "big")


def _text(descriptor: int) -> str:
    """The whole content of a file, which is closed."""
    with open(descriptor, "rb") as file:
        file.seek(0)
        return file.read().decode()


def _nameless() -> int:
    """A file without a name, to read and write."""
    descriptor, path = tempfile.mkstemp()
    os.unlink(path)
    return descriptor


class ForkServer:
    """Starts the server with the first command; several threads may start commands."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._server: tuple[subprocess.Popen[bytes], socket.socket] | None = None

    def start(self, words: Sequence[str], more: Mapping[str, str] = _NOTHING, /) -> Forked:
        """Run `cvbench WORDS`, with this process' environment, more of it, and this working folder."""
        out, err = _nameless(), _nameless()
        ours, theirs = socket.socketpair()
        request = json.dumps([list(words), {**os.environ, **more}, os.getcwd()]).encode()
        with self._lock, theirs:  # one request at a time on the way, so that each arrives whole
            control = self._control()
            control.sendall(len(request).to_bytes(NUMBER, "big"))
            socket.send_fds(control, [request[:1]], [theirs.fileno(), out, err])
            control.sendall(request[1:])
        return Forked(ours, _received(ours), out, err)

    def close(self) -> None:
        """End the server; commands that run are not touched."""
        if self._server is not None:
            process, control = self._server
            control.close()
            process.wait(150)
            self._server = None

    def _control(self) -> socket.socket:
        if self._server is None:
            ours, theirs = socket.socketpair()
            with theirs:
                process = subprocess.Popen(
                    [sys.executable, "-m", __name__, str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,  # an interrupt of the tests is not its business: it ends with the socket
                    cwd=os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
                )
            self._server = process, ours
        return self._server[1]


class Request(NamedTuple):
    """What a forked process is to become."""

    words: list[str]
    environment: dict[str, str]
    folder: str
    out: int
    err: int

    def enter(self) -> None:
        """Take on the session, streams, environment and folder of a command from a terminal."""
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # Who runs the tests in the background has interrupts ignored, and children inherit that.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.dup2(self.out, 1)
        os.dup2(self.err, 2)
        os.close(self.out)
        os.close(self.err)
        os.environ.clear()
        os.environ.update(self.environment)
        os.chdir(self.folder)
        sys.argv = ["cvbench", *self.words]
        given = self.environment.get("PYTHONPATH", "").split(os.pathsep)
        sys.path[:0] = [place for place in given if place and place not in sys.path]
        importlib.invalidate_caches()


def serve(control: socket.socket) -> Request:
    """Fork for every request until the other side closes; returns in a process that is to become a command."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the processes that wait need not be waited for
    while size := control.recv(NUMBER, socket.MSG_WAITALL):
        body, (reply_fd, out, err), _, _ = socket.recv_fds(control, 1, 3)
        while len(body) < int.from_bytes(size, "big"):
            body += control.recv(int.from_bytes(size, "big") - len(body))  # not into the next request
        words, environment, folder = json.loads(body)
        request = Request(words, environment, folder, out, err)
        with socket.socket(fileno=reply_fd) as reply:
            if os.fork() == 0 and _waits(reply):
                control.close()
                try:
                    request.enter()
                finally:
                    reply.sendall(os.getpid().to_bytes(NUMBER, "big"))  # from here on signals meet a command
                return request
        os.close(out)
        os.close(err)
    sys.exit(0)


def _waits(reply: socket.socket) -> bool:
    """True in a new process, which tells its number; the old one tells how it ended, and is gone.

    A process of its own for every command, as a server that waits could fork no other meanwhile.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    pid = os.fork()
    if pid == 0:
        return True
    try:
        reply.sendall(os.waitpid(pid, 0)[1].to_bytes(NUMBER, "big"))
    finally:
        os._exit(0)


def _main() -> NoReturn:
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the command line does, before torch is imported
    gc.disable()  # modules are no garbage
    for name in PRELOADED:
        importlib.import_module(name)
    be_patient()
    gc.enable()
    gc.freeze()  # what is shared is not gone through, and so not copied, when a command ends
    serve(socket.socket(fileno=int(sys.argv[1])))
    from cvbench.cli import main

    main()


if __name__ == "__main__":
    _main()
