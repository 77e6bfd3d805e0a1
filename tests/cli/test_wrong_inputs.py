"""Wrong inputs that people type: each message names what is wrong and what to type instead."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from cvbench.cli.app import app
from cvbench.errors import CvbenchError, ResourceError
from cvbench.storage.features import FeatureStore
from tests.jobs.images import write_folder
from tests.storage.small_store import extract

QUICK = "--address none --backbone test_vit --weights random"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images, a store of features, an empty folder and a file."""
    folder = tmp_path_factory.mktemp("wrong")
    write_folder(folder / "birds", 12)
    extract(FeatureStore.open(folder / "small.zarr", "a"))
    (folder / "empty").mkdir()
    (folder / "taken").write_text("a file")
    (folder / "tables").mkdir()
    (folder / "tables" / "some.parquet").write_bytes(b"")
    return folder


CASES: dict[str, tuple[int, tuple[str, ...]]] = {
    f"extract --dataset digits {QUICK} --backbone dinov2": (2, ("match", "vit_small_patch14_dinov2.lvd142m")),
    f"extract --dataset digits {QUICK} --backbone dinov2_vits14": (2, ("vit_small_patch14_dinov2",)),
    f"extract --dataset digits {QUICK} --backbone facebook/dinov2-small": (2, ("hf:facebook/dinov2-small",)),
    f"extract --dataset birds {QUICK}": (2, ("--dataset folder:birds",)),
    f"extract --dataset ./birds {QUICK}": (2, ("--dataset folder:birds",)),
    "store info --store birds": (3, ("birds", ".png", "not a feature store")),
    "store info --store empty": (3, ("empty",)),
    f"extract --dataset digits {QUICK} --max-bytes 10KB": (6, ("--max-bytes",)),
    f"extract --dataset digits {QUICK} --batch-size -1": (2, ("'auto'",)),
    f"extract --dataset digits {QUICK} --image-size 63": (2, ("16", "48", "64")),
    "store export digits/all/test_vit/pooled --store small.zarr --out files": (
        2,
        ("did you mean: digits/all/test_vit@32/pooled",),
    ),
    f"extract --dataset parquet:tables/sme.parquet {QUICK}": (3, ("did you mean: some.parquet", "tables/some.parquet")),
    f"extract --dataset parquet:nope.parquet {QUICK}": (
        3,
        ("birds/", "fix: give the path of a file that ends in .par"),
    ),
    f"extract --dataset table:tables/nope.csv {QUICK}": (3, ("the table is not there", "fix: ", ".csv, .tsv")),
    f"extract --dataset table:birds {QUICK}": (2, ("fix: --dataset folder:/", "/birds")),
    f"extract --dataset coco:nope.json {QUICK}": (3, ("fix: give the path of a file that ends in .json",)),
    f"extract --dataset folder:empty {QUICK}": (3, ("the folder is empty", "fix: put the images there")),
    f"extract --dataset parquet:empty {QUICK}": (3, ("why: the folder is empty", "fix: ")),
    "analyze cka --store small.zarr --out taken --address none": (6, ("--out taken",)),
}


@pytest.mark.parametrize("line", CASES)
def test_the_message_says_what_to_type_instead(line: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)
    code, said = CASES[line]
    store = [] if "--store" in line else ["--store", "new.zarr"]
    done = CliRunner().invoke(app, [*line.split(), *store])
    if isinstance(done.exception, CvbenchError):
        text, found = str(done.exception), done.exception.exit_code
    else:
        text, found = done.output, done.exit_code
    assert found == code, text
    for words in said:
        assert words in text, text
    assert not (place / "new.zarr").exists()


@pytest.mark.parametrize(("word", "given"), [("--max-bytes", ""), ("--unit", "--max-bytes 8KB")])
def test_of_bytes_that_are_too_many_the_fix_fits(word: str, given: str, place: Path, tmp_path: Path) -> None:
    line = f"extract --dataset folder:{place}/birds {QUICK} --store {tmp_path}/new.zarr"
    refused = CliRunner().invoke(app, [*line.split(), "--max-bytes", "8KB"])
    assert isinstance(refused.exception, ResourceError)
    assert not (tmp_path / "new.zarr").exists()
    fix = str(refused.exception.fix)
    typed = word + fix.partition(word)[2].partition(" fits")[0].partition(";")[0]
    done = CliRunner().invoke(app, [*line.split(), *given.split(), *typed.split()])
    assert done.exit_code == 0, (typed, done.output, done.exception)


@pytest.mark.parametrize(
    "said",
    [
        "Unauthenticated: InvalidAuthToken: Authentication token is missing or incorrect",
        "failed to connect to GCS\nRPC error: StatusCode.UNAUTHENTICATED",
    ],
)
def test_a_cluster_that_wants_a_token_says_so(said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    from cvbench.jobs.running.cluster import Cluster
    from cvbench.jobs.running.session import RaySession

    def refuse(**settings: object) -> None:
        raise ConnectionError(said)

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(CvbenchError, match="wants a token") as caught, RaySession(Cluster(address="auto")):
        pass
    assert caught.value.exit_code == 8
    assert "RAY_AUTH_TOKEN_PATH" in str(caught.value.fix)
