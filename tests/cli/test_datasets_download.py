"""`cvbench datasets download`, from a real server on the loopback interface."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cvbench.cli.datasets import app
from cvbench.errors import CvbenchError, DataUnavailableError, UnknownNameError, UsageError
from cvbench.storage.downloads import SOURCES, Archive, Source
from tests.storage.datasets.cifar_tree import PER_FILE, write_cifar
from tests.storage.downloads.file_server import FileServer, serving


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """CIFAR-10 of six images a file, on a server that the table of sources points to."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.delenv("CVBENCH_DATA", raising=False)
    write_cifar(tmp_path / "made" / "cifar-10-batches-py")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.add(tmp_path / "made" / "cifar-10-batches-py", "cifar-10-batches-py")
    with serving() as state:
        state.files["/cifar.tar.gz"] = buffer.getvalue()
        archive = Archive("cifar.tar.gz", (f"{state.url}/dead", f"{state.url}/cifar.tar.gz"))
        monkeypatch.setitem(SOURCES, "cifar10", Source("cifar10", "cifar10", (archive,)))
        yield state


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["download", *arguments])


def error(*arguments: str) -> CvbenchError:
    outcome = run(*arguments)
    assert isinstance(outcome.exception, CvbenchError)
    return outcome.exception


def test_download_and_then_nothing_to_do(server: FileServer, tmp_path: Path) -> None:
    root = str(tmp_path / "data")
    outcome = run("cifar10", "--data-root", root, "--accept-licence")
    assert outcome.exit_code == 0, outcome.exception
    assert "licence: none stated; cite Krizhevsky 2009" in outcome.stderr
    assert "cifar.tar.gz" in outcome.stderr
    assert outcome.stdout.splitlines()[0] == f"cifar10: 7 files in {root}/cifar10"
    checked = CliRunner().invoke(app, ["verify", "cifar10", "--data-root", root, "--split", "test", "--format", "json"])
    assert json.loads(checked.stdout)["splits"][0]["images"] == PER_FILE
    server.seen.clear()
    again = run("cifar10", "--data-root", root)
    assert again.exit_code == 0
    assert "is there already" in again.stdout
    assert server.seen == []


def test_as_json(server: FileServer, tmp_path: Path) -> None:
    outcome = run("cifar10", "--data-root", str(tmp_path / "data"), "--accept-licence", "--format", "json")
    content = json.loads(outcome.stdout)
    assert content["schema_version"] == 1
    assert content["folder"] == str(tmp_path / "data" / "cifar10")
    assert content["fetched"][0]["url"] == f"{server.url}/cifar.tar.gz"
    assert content["fetched"][0]["bytes"] == len(server.files["/cifar.tar.gz"])


def test_nothing_is_fetched_before_the_licence_is_accepted(server: FileServer, tmp_path: Path) -> None:
    caught = error("cifar10", "--data-root", str(tmp_path / "data"))
    assert isinstance(caught, UsageError)
    assert "--accept-licence" in str(caught)
    assert "Krizhevsky" in str(caught)
    assert server.seen == []
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(("answer", "fetched"), [("y\n", True), ("n\n", False)])
def test_a_person_is_asked(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, fetched: bool
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    from cvbench.cli import datasets
    from cvbench.cli.options import Printed

    monkeypatch.setattr("sys.stdin", Terminal(answer))
    root = datasets.Root(str(tmp_path / "data"))
    asked = datasets.Named("cifar10"), datasets.Fetched(), root, Printed()
    if fetched:
        datasets._download(*asked)
    else:
        with pytest.raises(UsageError, match="is not accepted"):
            datasets._download(*asked)
    assert (tmp_path / "data" / "cifar10").is_dir() == fetched


def test_archives_are_kept_when_asked(server: FileServer, tmp_path: Path) -> None:
    run("cifar10", "--data-root", str(tmp_path / "data"), "--accept-licence", "--keep-archives")
    assert (tmp_path / "data" / ".cvbench" / "cifar10" / "cifar.tar.gz").is_file()


def test_archives_that_do_not_make_the_data_set(server: FileServer, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        tar.add(tmp_path / "made" / "cifar-10-batches-py" / "batches.meta", "moved/elsewhere")
    server.files["/cifar.tar.gz"] = buffer.getvalue()
    caught = error("cifar10", "--data-root", str(tmp_path / "data"), "--accept-licence")
    assert isinstance(caught, DataUnavailableError)
    assert "they do not make cifar10" in str(caught)


def test_annotations_are_downloaded_like_a_data_set(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, root = SOURCES["imagenet-x"], str(tmp_path / "data")
    archives = []
    for archive in source.archives:
        server.files[f"/{archive.file}"] = archive.file.encode()
        archives.append(replace(archive, urls=(f"{server.url}/{archive.file}",)))
    monkeypatch.setitem(SOURCES, "imagenet-x", replace(source, archives=tuple(archives)))
    refused = error("imagenet-x", "--data-root", root)
    assert "the licence of imagenet-x is not accepted\nwhy: CC BY-NC" in str(refused)
    outcome = run("imagenet-x", "--data-root", root, "--accept-licence")
    assert outcome.exit_code == 0, outcome.exception
    assert "no checksum is published of imagenet_x_val_top_factor.jsonl, " in outcome.stderr
    assert outcome.stdout.splitlines()[0] == f"imagenet-x: 4 files in {root}/imagenet-x"
    server.seen.clear()
    assert "is there already" in run("imagenet-x", "--data-root", root).stdout
    assert server.seen == []


def test_what_has_a_checksum_is_not_said_to_have_none(server: FileServer, tmp_path: Path) -> None:
    assert "no checksum is published of cifar.tar.gz" in run("cifar10", "--data-root", str(tmp_path)).stderr
    assert "no checksum" not in run("dtd", "--data-root", str(tmp_path)).stderr


def test_what_cannot_be_downloaded(server: FileServer, tmp_path: Path) -> None:
    root = ("--data-root", str(tmp_path))
    caught = error("imagenet-val", *root, "--accept-licence")
    assert isinstance(caught, DataUnavailableError)
    assert "cannot be downloaded by cvbench" in str(caught)
    assert "image-net.org" in str(caught)
    assert isinstance(error("cifar11", *root), UnknownNameError)
    assert isinstance(error(f"folder:{tmp_path}/nothing", *root), DataUnavailableError)
    assert "no data root" in str(error("cifar10", "--accept-licence"))
    assert run("digits", *root).exit_code == 0
