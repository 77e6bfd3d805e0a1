"""No download reaches this machine, its network or a cloud's metadata, whatever a server or a name's address says."""

from __future__ import annotations

import http.client
import ipaddress
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cvbench.errors import DataUnavailableError
from cvbench.storage.downloads import public
from cvbench.storage.downloads.archive import Archive
from cvbench.storage.downloads.fetch import fetch
from cvbench.storage.downloads.public import ALLOW, RefusedError, connect, is_public, opener
from tests.storage.downloads.file_server import FileServer, serving

FORMS = ("127.0.0.1", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "[::1]", "[::ffff:127.0.0.1]", "localhost")
"""Ways to write this machine."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    with serving() as state:
        for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", ALLOW):
            monkeypatch.delenv(name, raising=False)
        state.files["/a.bin"] = b"of this machine alone"
        yield state


def get(folder: Path, url: str) -> bytes:
    return fetch(Archive("a.bin", (url,)), folder, listen=lambda *_: None, pause=0.0).path.read_bytes()


@pytest.mark.parametrize("host", FORMS)
def test_this_machine_is_not_asked_however_it_is_written(server: FileServer, tmp_path: Path, host: str) -> None:
    url = server.url.replace("127.0.0.1", host)
    with pytest.raises(DataUnavailableError, match="which is no public address; CVBENCH_ALLOW_HOSTS="):
        get(tmp_path, f"{url}/a.bin")
    assert server.seen == []


@pytest.mark.parametrize(
    "address",
    [
        *("10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1"),
        *("255.255.255.255", "198.18.0.1", "::", "::1", "fe80::1%lo", "fc00::1", "fd00:ec2::254", "ff02::1"),
        *("::ffff:10.0.0.1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::"),
    ],
)
def test_addresses_that_are_not_the_internets(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_public(address)
    monkeypatch.delenv(ALLOW, raising=False)
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    both = [(family, socket.SOCK_STREAM, 6, "", (a, 80)) for a in ("93.184.216.34", address)]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: both)

    def connected(*asked: object) -> None:
        raise AssertionError("it was asked")

    monkeypatch.setattr(socket, "create_connection", connected)
    with pytest.raises(RefusedError, match="no public address"):
        connect("a-name.example", 80, 1.0)


@pytest.mark.parametrize("address", ["93.184.216.34", "2606:2800:220:1::1", "64:ff9b::808:808"])
def test_addresses_of_the_internet(address: str) -> None:
    assert is_public(address)
    assert ipaddress.ip_address(address).is_global


def test_a_redirect_to_this_machine_is_not_followed(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first host is allowed by name; it sends us on, in two steps, to the same server by another name."""
    monkeypatch.setenv(ALLOW, "127.0.0.1")
    inner = server.url.replace("127.0.0.1", "localhost")
    server.redirects |= {"/first": f"{server.url}/second", "/second": f"{inner}/a.bin"}
    with pytest.raises(DataUnavailableError, match=r"localhost is .*no public address"):
        get(tmp_path, f"{server.url}/first")
    assert [path for path, _ in server.seen] == ["/first", "/second"]
    monkeypatch.setenv(ALLOW, "127.0.0.1,LOCALHOST")
    assert get(tmp_path, f"{server.url}/first") == b"of this machine alone"


def test_a_name_is_resolved_once(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that means a public address when it is looked at, and this machine when it is used."""
    port = int(server.url.rpartition(":")[2])
    answers = iter(["93.184.216.34", "127.0.0.1"])
    used = []

    def resolved(host: str, port: int, *args: Any, **named: Any) -> list[Any]:
        found = next(answers) if host == "rebinding.example" else host
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (found, port))]

    def connected(address: tuple[str, int], timeout: float | None = None) -> socket.socket:
        used.append(resolved(*address)[0][4][0])
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    monkeypatch.setattr(socket, "create_connection", connected)
    with pytest.raises(OSError, match=r"refused|^$|URLError|urlopen"):
        opener(downgraded=True).open(f"http://rebinding.example:{port}/a.bin", timeout=1.0)
    assert used == ["93.184.216.34"]


@pytest.mark.parametrize("host", ["169.254.169.254", "2852039166", "0xa9fea9fe", "[::ffff:169.254.169.254]"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_is_not_sent_there_either(
    server: FileServer, tmp_path: Path, host: str, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"{scheme}_proxy", server.url)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(DataUnavailableError, match="no public address"):
        get(tmp_path, f"{scheme}://{host}/latest/meta-data/")
    assert server.seen == []


def test_a_proxy_of_ones_own_may_be_anywhere(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", server.url)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    server.files["http://data.example/a.bin"] = b"through the proxy"
    assert get(tmp_path, "http://data.example/a.bin") == b"through the proxy"


@pytest.mark.parametrize("vouched", [True, False])
def test_https_is_left_only_where_a_checksum_vouches(vouched: bool) -> None:
    handler = public._Redirects(vouched)
    request = urllib.request.Request("https://data.example/a.bin")

    def follow() -> Any:
        return handler.redirect_request(request, None, 302, "", http.client.HTTPMessage(), "http://data.example/a.bin")

    if vouched:
        assert follow().full_url == "http://data.example/a.bin"
    else:
        with pytest.raises(RefusedError, match="from https to"):
            follow()
