"""One file over HTTP, from a real server: resumed, checked, and got elsewhere if a place is dead."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cvbench.errors import DataUnavailableError, IntegrityError, ResourceError
from cvbench.storage.downloads import fetch as module
from cvbench.storage.downloads.fetch import ATTEMPTS, Fetched, fetch
from cvbench.storage.downloads.sources import SOURCES, Archive
from tests.storage.downloads.file_server import FileServer, serving

BODY = bytes(np.random.default_rng(0).integers(0, 256, 300_000, dtype=np.uint8))
MD5 = hashlib.md5(BODY).hexdigest()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.setattr(module, "BLOCK", 10_000)
    with serving() as state:
        state.files["/a.bin"] = BODY
        yield state


def get(folder: Path, *urls: str, md5: str | None = MD5, size: int | None = None, sha256: str | None = None) -> Fetched:
    archive = Archive("a.bin", urls, md5=md5, size=size)
    return fetch(archive, folder, sha256=sha256, listen=lambda *_: None, pause=0.0)


def test_a_file_is_fetched_and_gets_its_name_when_whole(server: FileServer, tmp_path: Path) -> None:
    heard: list[tuple[str, int, int | None]] = []
    archive = Archive("a.bin", (f"{server.url}/a.bin",), md5=MD5)
    found = fetch(archive, tmp_path, listen=lambda *event: heard.append(event))
    assert found.path.read_bytes() == BODY
    assert (found.size, found.sha256, found.url) == (300_000, hashlib.sha256(BODY).hexdigest(), archive.urls[0])
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]
    assert heard[-1] == ("a.bin", 300_000, 300_000)
    assert [done for _, done, _ in heard] == sorted(done for _, done, _ in heard)


@pytest.mark.parametrize("md5", [MD5, None])
def test_after_a_cut_only_the_rest_is_asked_for(server: FileServer, tmp_path: Path, md5: str | None) -> None:
    server.cuts["/a.bin"] = [100_000, 50_000]
    assert get(tmp_path, f"{server.url}/a.bin", md5=md5).path.read_bytes() == BODY
    assert server.seen == [("/a.bin", None), ("/a.bin", "bytes=100000-"), ("/a.bin", "bytes=150000-")]


@given(cuts=st.lists(st.integers(0, 90_000), max_size=8), ranges=st.booleans(), versions=st.booleans())
@settings(max_examples=25, deadline=None)
def test_however_it_is_cut_the_file_is_whole_in_the_end(cuts: list[int], ranges: bool, versions: bool) -> None:
    """As long as no five attempts in a row bring nothing; and with ranges no byte is sent twice."""
    with serving() as state, tempfile.TemporaryDirectory() as folder, no_proxy():
        state.files["/a.bin"] = BODY
        state.cuts["/a.bin"] = [max(cut, 1) for cut in cuts] if ranges else cuts[: ATTEMPTS - 1]
        state.ranges, state.versions = ranges, versions
        archive = Archive("a.bin", (f"{state.url}/a.bin",), md5=MD5)
        assert fetch(archive, Path(folder), listen=lambda *_: None, pause=0.0).path.read_bytes() == BODY
        starts = [int(wanted.removeprefix("bytes=").removesuffix("-")) for _, wanted in state.seen if wanted]
        if ranges:
            assert starts == sorted(set(starts))


@contextmanager
def no_proxy() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("NO_PROXY", "no_proxy"):
            patch.setenv(name, "127.0.0.1")
        yield


def test_another_process_goes_on_from_the_part(server: FileServer, tmp_path: Path) -> None:
    server.cuts["/a.bin"] = [100_000]
    server.status["/a.bin"] = []
    archive = Archive("a.bin", (f"{server.url}/a.bin",))

    def stop(file: str, done: int, total: int | None) -> None:
        if done >= 60_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetch(archive, tmp_path, listen=stop)
    kept = (tmp_path / "a.bin.part").stat().st_size
    assert 60_000 <= kept < 300_000
    assert fetch(archive, tmp_path, listen=lambda *_: None, pause=0.0).path.read_bytes() == BODY
    assert server.seen[-1] == ("/a.bin", f"bytes={kept}-")


@pytest.mark.parametrize("md5", [MD5, None])
def test_a_server_without_ranges_sends_it_all_again(server: FileServer, tmp_path: Path, md5: str | None) -> None:
    server.ranges = False
    server.cuts["/a.bin"] = [100_000]
    assert get(tmp_path, f"{server.url}/a.bin", md5=md5).path.read_bytes() == BODY


def test_without_a_version_or_a_checksum_it_begins_again(server: FileServer, tmp_path: Path) -> None:
    server.versions = False
    server.cuts["/a.bin"] = [100_000]
    assert get(tmp_path, f"{server.url}/a.bin", md5=None).path.read_bytes() == BODY
    assert [wanted for _, wanted in server.seen] == [None, None]


def test_a_part_of_another_version_is_not_continued(server: FileServer, tmp_path: Path) -> None:
    url = f"{server.url}/a.bin"
    server.files["/a.bin"] = bytes(300_000)
    server.cuts["/a.bin"] = [100_000] * ATTEMPTS * 30
    server.status["/a.bin"] = []
    archive = Archive("a.bin", (url,))
    with pytest.raises(KeyboardInterrupt):
        fetch(archive, tmp_path, listen=interrupt_at(80_000))
    server.files["/a.bin"], server.cuts["/a.bin"] = BODY, []
    assert fetch(archive, tmp_path, listen=lambda *_: None, pause=0.0).path.read_bytes() == BODY


def interrupt_at(count: int) -> module.Listener:
    """A listener that stops the download as Ctrl-C does."""

    def listen(file: str, done: int, total: int | None) -> None:
        if done >= count:
            raise KeyboardInterrupt

    return listen


def test_a_whole_part_is_not_fetched_again(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "a.bin.part").write_bytes(BODY)
    assert get(tmp_path, f"{server.url}/a.bin").path.read_bytes() == BODY
    assert server.seen == [("/a.bin", "bytes=300000-")]


def test_a_part_that_is_too_long_is_dropped(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "a.bin.part").write_bytes(BODY + b"x")
    assert get(tmp_path, f"{server.url}/a.bin").path.read_bytes() == BODY


def test_passing_failures_are_retried(server: FileServer, tmp_path: Path) -> None:
    server.status["/a.bin"] = [503, 429, 500]
    assert get(tmp_path, f"{server.url}/a.bin").path.read_bytes() == BODY


def test_a_dead_source_is_passed_over(server: FileServer, tmp_path: Path) -> None:
    dead = ("http://127.0.0.1:9/a.bin", f"{server.url}/gone.bin", "ftp://127.0.0.1/a.bin")
    found = get(tmp_path, *dead, f"{server.url}/a.bin")
    assert (found.path.read_bytes(), found.url) == (BODY, f"{server.url}/a.bin")
    assert server.seen[0] == ("/gone.bin", None)  # a 404 is asked for once
    assert len(server.seen) == 2


def test_a_source_of_something_else_is_passed_over(server: FileServer, tmp_path: Path) -> None:
    server.files |= {"/wrong.bin": bytes(300_000), "/page": b"<html>moved</html>", "/short.bin": BODY[:-1]}
    server.types["/page"] = "text/html; charset=utf-8"
    urls = [f"{server.url}{path}" for path in ("/wrong.bin", "/page", "/short.bin", "/a.bin")]
    assert get(tmp_path, *urls, size=300_000).url == urls[-1]


def test_a_wrong_checksum_is_an_integrity_error(server: FileServer, tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="cannot be downloaded") as caught:
        get(tmp_path, f"{server.url}/a.bin", md5="0" * 32)
    assert f"wrong checksum: {MD5}" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_what_was_recorded_of_an_earlier_download_counts_where_nothing_is_published(
    server: FileServer, tmp_path: Path
) -> None:
    with pytest.raises(IntegrityError, match="cannot be downloaded"):
        get(tmp_path, f"{server.url}/a.bin", md5=None, sha256="0" * 64)
    assert get(tmp_path, f"{server.url}/a.bin", sha256="0" * 64).size == 300_000  # the published one decides


def test_no_source_is_left(server: FileServer, tmp_path: Path) -> None:
    server.status["/busy"] = [503] * ATTEMPTS
    with pytest.raises(DataUnavailableError, match=r"a\.bin cannot be downloaded") as caught:
        get(tmp_path, f"{server.url}/gone", f"{server.url}/busy", "file:///etc/passwd")
    for part in ("HTTP 404", f"HTTP 503 Service Unavailable ({ATTEMPTS} times)", "not an http or https URL", "a.bin"):
        assert part in str(caught.value)


def test_a_redirect_is_followed_to_http_only(server: FileServer, tmp_path: Path) -> None:
    server.redirects |= {"/to": f"{server.url}/a.bin", "/out": "ftp://127.0.0.1/a.bin", "/local": "file:///etc/passwd"}
    assert get(tmp_path, f"{server.url}/to").path.read_bytes() == BODY
    (tmp_path / "a.bin").unlink()
    with pytest.raises(DataUnavailableError) as caught:
        get(tmp_path, f"{server.url}/out", f"{server.url}/local")
    assert "redirects to ftp" in str(caught.value)
    assert "file:///etc/passwd' is not allowed" in str(caught.value)


def test_a_server_that_does_not_say_how_long(server: FileServer, tmp_path: Path) -> None:
    server.lengths = False
    assert get(tmp_path, f"{server.url}/a.bin").path.read_bytes() == BODY
    (tmp_path / "a.bin").unlink()
    server.cuts["/a.bin"] = [1000]  # such a cut shows in the checksum only
    with pytest.raises(IntegrityError):
        get(tmp_path, f"{server.url}/a.bin")


def test_a_file_that_is_there_and_whole_is_not_asked_for(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(BODY)
    assert get(tmp_path, f"{server.url}/a.bin").url == ""
    assert server.seen == []
    (tmp_path / "a.bin").write_bytes(BODY[:-1])
    assert get(tmp_path, f"{server.url}/a.bin").url == f"{server.url}/a.bin"


def test_too_little_space_is_said_before_the_first_byte(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RESERVE", 1 << 62)
    with pytest.raises(ResourceError, match="not enough space") as caught:
        get(tmp_path, f"{server.url}/a.bin")
    assert "300,000 more are needed" in str(caught.value)
    assert not (tmp_path / "a.bin.part").exists()


@pytest.mark.parametrize("source", SOURCES.values(), ids=list(SOURCES))
def test_the_table_of_sources(source: object) -> None:
    from cvbench.storage.datasets import dataset_info
    from cvbench.storage.downloads.sources import Source

    assert isinstance(source, Source)
    assert source.about or dataset_info(source.dataset).name == source.dataset
    assert len({archive.file for archive in source.archives}) == len(source.archives)
    for archive in source.archives:
        assert archive.md5 is None or (len(archive.md5) == 32 and int(archive.md5, 16) >= 0)
        assert all(url.startswith(("https://", "http://")) for url in archive.urls)
        assert archive.sha256 is None or (len(archive.sha256) == 64 and int(archive.sha256, 16) >= 0)
        assert archive.size is None or archive.size > 0
        assert archive.vouched or all(url.startswith("https://") for url in archive.urls)
        assert len(set(archive.urls)) == len(archive.urls)


def test_the_table_holds_the_sets_of_the_study() -> None:
    from cvbench.storage.datasets.groups import expand

    wanted = {*expand(["@robustness"]), *expand(["@transfer"]), "pug-imagenet", "cue-conflict"} - {"imagenet-val"}
    assert wanted | {"imagenet-real", "imagenet-x", "cub200", "cifar10"} <= set(SOURCES)


def test_a_published_sha256_vouches_for_a_file(server: FileServer, tmp_path: Path) -> None:
    right, wrong = hashlib.sha256(BODY).hexdigest(), "0" * 64
    url = f"{server.url}/a.bin"

    def fetched(folder: str, **published: str) -> Fetched:
        (tmp_path / folder).mkdir()
        archive = Archive("a.bin", (url,), **published)  # type: ignore[arg-type]
        return fetch(archive, tmp_path / folder, sha256="1" * 64, listen=lambda *_: None, pause=0.0)

    assert fetched("a", sha256=right).sha256 == right, "what was recorded does not count beside what is published"
    assert fetched("b", sha256=right, md5=MD5).sha256 == right
    for folder, published in (("c", {"sha256": wrong}), ("d", {"sha256": wrong, "md5": MD5})):
        with pytest.raises(IntegrityError, match=f"expected {wrong}"):
            fetched(folder, **published)
        assert not list((tmp_path / folder).iterdir())


def test_with_a_sha256_a_part_without_a_version_is_continued(server: FileServer, tmp_path: Path) -> None:
    (tmp_path / "a.bin.part").write_bytes(BODY[:120_000])
    archive = Archive("a.bin", (f"{server.url}/a.bin",), sha256=hashlib.sha256(BODY).hexdigest())
    assert fetch(archive, tmp_path, listen=lambda *_: None, pause=0.0).path.read_bytes() == BODY
    assert server.seen == [("/a.bin", "bytes=120000-")]


def test_a_part_of_one_place_is_no_beginning_for_another(server: FileServer, tmp_path: Path) -> None:
    """A mirror that sends wrong bytes and hangs up: the next one's rest behind them would never be the file."""
    server.files |= {"/bad/a.bin": bytes(300_000)}
    server.cuts["/bad/a.bin"] = [50_000, *[0] * ATTEMPTS]
    found = get(tmp_path, f"{server.url}/bad/a.bin", f"{server.url}/a.bin")
    assert found.path.read_bytes() == BODY
    assert server.seen[-1] == ("/a.bin", None)


def test_a_wrong_part_of_an_earlier_run_costs_one_more_request(server: FileServer, tmp_path: Path) -> None:
    """Without a record of where it came from; a checksum vouches for the file, so it is continued first."""
    (tmp_path / "a.bin.part").write_bytes(bytes(50_000))
    assert get(tmp_path, f"{server.url}/a.bin").path.read_bytes() == BODY
    assert server.seen == [("/a.bin", "bytes=50000-"), ("/a.bin", None)]


@pytest.mark.parametrize("md5", [MD5, None])
def test_a_known_size_is_a_bound_whatever_the_server_sends(server: FileServer, tmp_path: Path, md5: str | None) -> None:
    """An answer in chunks says nothing of its length: 335 MB were taken for 16 kB."""
    server.files["/long.bin"] = bytes(40_000_000)
    server.chunked = {"/long.bin", "/a.bin"}
    heard: list[int] = []
    archive = Archive("a.bin", (f"{server.url}/long.bin",), md5=md5, size=len(BODY))
    with pytest.raises(DataUnavailableError, match="it sends more than the 300,000 bytes"):
        fetch(archive, tmp_path, listen=lambda _, done, __: heard.append(done), pause=0.0)
    assert max(heard) <= len(BODY)
    assert not (tmp_path / "a.bin.part").exists()
    found = get(tmp_path, f"{server.url}/long.bin", f"{server.url}/a.bin", md5=md5, size=len(BODY))
    assert found.path.read_bytes() == BODY


def test_a_server_of_wrong_ranges_is_asked_for_all_of_it(server: FileServer, tmp_path: Path) -> None:
    """It was refused for ever, as the part stayed."""
    server.cuts["/a.bin"] = [100_000]
    server.shifted["/a.bin"] = 7
    assert get(tmp_path, f"{server.url}/a.bin").path.read_bytes() == BODY
    assert server.seen == [("/a.bin", None), ("/a.bin", "bytes=100000-"), ("/a.bin", None)]


@pytest.mark.parametrize("state", ["[1]", '{"url": 7}', '{"version": 7}', '{"version": "a\\nb"}', "[" * 100_000, "{"])
def test_a_damaged_record_of_a_part_does_not_stop_a_download(server: FileServer, tmp_path: Path, state: str) -> None:
    (tmp_path / "a.bin.part").write_bytes(BODY[:50_000])
    (tmp_path / "a.bin.part.json").write_text(state)
    assert get(tmp_path, f"{server.url}/a.bin").path.read_bytes() == BODY
