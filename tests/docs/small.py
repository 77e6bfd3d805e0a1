"""Commands that pages show of data sets and networks that no test has, run with small ones in their place.

A command runs as it is shown, in the order of its page, in a folder of the page's own. Only this is put in:

- `/data` is a folder of small trees in the real formats (`small_data`), `s3://bucket` a bucket of a server on this
  machine, `HOST:PORT` this process;
- timm's large networks are small ones of the same names with weights of a file (`small_networks`);
- `ADDED` options say that images are few, and that networks which learnt nothing are at chance.

`NOT_RUN` has all other commands, each with the reason.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import boto3

from tests.docs.small_data import write_data, write_files
from tests.docs.small_networks import small_networks
from tests.storage.datasets.shard_trees import write_hub
from tests.storage.s3_service import proxied_service

ADDED = {
    "analyze tsne": "--perplexity 8",
    "analyze faithfulness": "--steps 4",
    "eval import": "",
    "eval": "--partial --allow-chance",
    "transfer probe": "--partial",
    "transfer finetune": "--partial --epochs 1",
    "transfer dense --store scenes.zarr --dataset scenes --out": "--positions 256 --resamples 100 --resolution 16",
    "transfer dense": "--positions 1024 --resamples 100",
    "extract --dataset scenes --split": "--limit 32 --unit 32",
    "extract --address HOST:PORT": "--unit 1024",
    "run study.yaml": "--set extract.maps=32 --set extract.unit=512",
}
"""Beginning of a command -> what is put behind it; the first that fits."""

ENDS = {"cvbench datasets verify cub200 --data-root /data": 4}
"""Command -> its exit code, if not 0: there are fewer images than were published."""

NOT_RUN = {
    "cvbench datasets download cub200 --data-root /data": (
        "a network; tests/cli/test_datasets_download.py has a server here"
    ),
    "cvbench cluster doctor --address HOST:PORT --dataset imagenet-val --data-root /data"
    " --store s3://bucket/study.zarr": "a cluster; tests/cluster/test_nodes.py has one of Ray nodes here",
    "cvbench reproduce --scale smoke": "minutes; `make demo` runs it",
    "cvbench reproduce --scale small --data-root /data": "needs real images: at chance its steps fail",
    "cvbench reproduce --scale full --data-root /data --set address=HOST:PORT": "as the small one, on GPUs",
    "cvbench reproduce --design objectives --data-root /data": "as the small one, on GPUs",
}
"""Command -> why it is not run."""

_STUDY = "cvbench extract --dataset digits --limit 64 --backbone test_vit --weights random --image-size 64 --unit 64"
BEFORE = {
    "docs/page.md": [
        line
        for store in ("study.zarr", "other.zarr")
        for line in (f"{_STUDY} --store {store}", f"cvbench analyze cka --store {store}")
    ],
}
"""Page -> what its reader has run before."""


def small(command: str, data: Path) -> str:
    """The command as it is run: with its stand-ins.

    >>> small("cvbench eval accuracy --store in1k.zarr", Path("x"))
    'cvbench eval accuracy --store in1k.zarr --partial --allow-chance'
    >>> small("cvbench extract --dataset dtd --data-root /data --address HOST:PORT", Path("x"))
    'cvbench extract --dataset dtd --data-root x --address none'
    """
    words = [word.replace("/data", str(data)).replace("HOST:PORT", "none") for word in shlex.split(command)]
    added = next((more for begin, more in ADDED.items() if command.startswith(f"cvbench {begin}")), "")
    return shlex.join([*words, *added.split()])


@contextmanager
def small_world(page: str, folder: Path) -> Iterator[Path]:
    """The data root of a page, within which there is all that its commands name; files go to the working directory."""
    data, networks = folder / "data", folder / "networks"
    networks.mkdir()
    write_data(data, in_shards=page == "docs/how/images.md")
    write_files(Path())
    with small_networks(networks), proxied_service("bucket"):
        write_hub(folder / "hub")
        boto3.client("s3").upload_file(str(next(folder.glob("hub/data/test*"))), "bucket", "images/test.parquet")
        yield data
