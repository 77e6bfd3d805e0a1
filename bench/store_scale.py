"""How commands grow with the units of a store: CPU seconds, peak memory and files, up to 10,000 units of 100 layers.

    python bench/store_scale.py [--units 625 1250 2500 5000 10000] [--layers 100] [--read-layers 10] [--folder DIR]

Each store is declared by the real `prepare` for a network of one's own and written by the real `UnitWriter`, a unit at
a time. Two kinds:

- records: all records of `--layers` layers, chunks left out (what is timed never opens one; a million files of 36 bytes
  would cost 4 GB of a disk's blocks): `extract` with nothing to do, resume (every tenth commit removed; until the first
  unit could run), `store info`.
- rows: `--read-layers` layers with their chunks: reading every layer whole, `verify`, `analyze cka`, and that again.

Every command runs in a process of its own, first on a store of one unit, so that imports are not part of the time.
`exponent` is the slope of log(seconds) over log(units): 1 is linear, less means that the start still counts.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import nn

    from cvbench.engine.models.own_models import OwnModel
    from cvbench.jobs.extraction.job import UnitJob
    from cvbench.storage.objects.local import LocalObjects

UNIT, CHANNELS = 4, 4
LAYERS = "STORE_SCALE_LAYERS"  # read by `network` in each child
SHARE = 10  # of the commits, one in so many is removed for a resume
RECORDS, ROWS = ("nothing to do", "resume", "store info"), ("read all layers", "verify", "analyze cka", "cka again")


def network() -> OwnModel:
    """Small convolutions one after another, each a layer of 4 channels."""
    import torch
    from torch import nn

    from cvbench.engine.models.own_models import OwnModel

    torch.manual_seed(0)
    count = int(os.environ[LAYERS])
    blocks = [nn.Conv2d(CHANNELS, CHANNELS, 1) for _ in range(count)]
    model: nn.Module = nn.Sequential()
    model.add_module("stem", nn.Conv2d(3, CHANNELS, 4, stride=4))
    model.add_module("stages", nn.Sequential(*blocks))
    return OwnModel(model, size=(16, 16), stages=tuple(f"stages.{i}" for i in range(count)))


def write_images(folder: Path, count: int) -> None:
    """A Parquet file of `count` images that differ in one pixel."""
    import pyarrow as pa
    import pyarrow.parquet
    from PIL import Image

    def encoded(number: int) -> bytes:
        pixels = np.zeros((16, 16, 3), np.uint8)
        pixels.reshape(-1)[:4] = np.frombuffer(number.to_bytes(4, "little"), np.uint8)
        kept = io.BytesIO()
        Image.fromarray(pixels).save(kept, "png", compress_level=1)
        return kept.getvalue()

    images = pa.array([{"bytes": encoded(i), "path": f"{i}.png"} for i in range(count)])
    table = pa.table({"image": images, "label": pa.array([i % 2 for i in range(count)], pa.int64())})
    folder.mkdir(parents=True)
    pyarrow.parquet.write_table(table, folder / "test-00000-of-00001.parquet")


def options(folder: Path) -> list[str]:
    """Options of `extract` on a grid's folder."""
    named = {"dataset": f"parquet:{folder}/images", "backbone": "bench.store_scale:network", "store": folder / "s.zarr"}
    named |= {"view": "pooled", "batch-size": UNIT, "unit": UNIT, "address": "none", "device": "cpu"}
    return [word for name, value in named.items() for word in (f"--{name}", str(value))]


def prepared(folder: Path) -> UnitJob:
    """The job of that `extract`, declared."""
    from cvbench.jobs.extraction.extract import prepare
    from cvbench.jobs.extraction.options import ExtractOptions
    from cvbench.jobs.running.cluster import Cluster

    chosen = ExtractOptions(
        dataset=f"parquet:{folder}/images",
        backbones=("bench.store_scale:network",),
        store=str(folder / "s.zarr"),
        batch_size=UNIT,
        unit=UNIT,
    )
    return prepare(chosen, Cluster(address="none", threads=1))


def write_store(folder: Path, units: int, *, rows: bool) -> None:
    """A store of `units` units, through the writer that every extraction uses."""
    from cvbench.storage.features import FeatureStore

    write_images(folder / "images", units * UNIT)
    job = prepared(folder)
    store = FeatureStore(_without_syncs(job.store.objects, rows=rows), "a", job.store.ledger.format)
    rng = np.random.default_rng(0)
    for group, arrays in job.groups.items():
        taps = [array.tap for array in arrays]
        for unit in job.units(group):
            values = rng.standard_normal((len(taps), UNIT, CHANNELS)).astype(np.float16)
            with store.writer(group, taps, unit) as writer:
                for tap, block in zip(taps, values, strict=True):
                    writer.write(tap, 0, block)
                writer.commit()


def _without_syncs(objects: Any, *, rows: bool) -> LocalObjects:
    """The same place, whose names are not made durable; without `rows` chunks are not written either."""
    from cvbench.storage.objects.local import LocalObjects

    class Place(LocalObjects):
        def create(self, key: str, *parts: Any) -> bool:
            return True if "/c." in key and not rows else super().create(key, *parts)

        def settle(self, keys: Any) -> None:
            """Nothing: a bench's store need not survive a power cut."""

    return Place(objects.root)


def removed_commits(folder: Path) -> None:
    """Every tenth commit is gone, as after a kill."""
    commits = sorted((folder / "s.zarr" / "ledger").glob("*/*/*/*/commits/*.json"))
    for path in commits[::SHARE]:
        path.unlink()


def child(what: str, start: Path, folder: Path) -> None:
    """Run one command in this process, first on the store of one unit; prints CPU seconds and peak MiB."""
    run(what, start)
    before = time.process_time()
    run(what, folder)
    seconds = time.process_time() - before
    peak = Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]
    print(json.dumps([seconds, int(peak) / 1024]))


def run(what: str, folder: Path) -> None:
    """One command on the store of a folder."""
    if what == "read all layers":
        _read_all(folder)
    elif what == "resume":
        print(len(prepared(folder).tasks()))
    else:
        with contextlib.suppress(SystemExit):
            _typed(what, folder)


def _typed(what: str, folder: Path) -> None:
    from cvbench.cli import main

    store = ["--store", str(folder / "s.zarr")]
    cka = ["analyze", "cka", *store, "--view", "pooled", "--address", "none", "--device", "cpu", "--cka-batch", "4"]
    lines = {"nothing to do": ["extract", *options(folder)], "store info": ["store", "info", *store]}
    lines |= {"verify": ["store", "verify", *store], "analyze cka": cka, "cka again": cka}
    sys.argv = ["cvbench", *lines[what]]
    main()


def _read_all(folder: Path) -> None:
    """Every layer whole, one after the other."""
    from cvbench.storage.features import FeatureStore

    store = FeatureStore.open(folder / "s.zarr")
    for group, found in store.declared().items():
        commits = store.commits(group, found.commits)
        for tap in found.taps:
            store.layer(group, tap, commits).numpy()


def timed(what: str, start: Path, folder: Path, layers: int, *more: str) -> tuple[float, float]:
    """(CPU seconds, peak MiB) of a command in a process of its own."""
    root = Path(__file__).resolve().parents[1]
    environment = os.environ | {LAYERS: str(layers), "OMP_NUM_THREADS": "1"}
    environment["PYTHONPATH"] = os.pathsep.join([str(root / "src"), str(root)])
    script = [sys.executable, __file__, "--child", what, "--folder", str(folder), "--start", str(start), *more]
    ended = subprocess.run(script, env=environment, capture_output=True, text=True, check=False, cwd=root)
    if ended.returncode:
        raise RuntimeError(f"{what}: exit {ended.returncode}\n{ended.stderr[-3000:]}")
    seconds, memory = json.loads(ended.stdout.splitlines()[-1])
    return seconds, memory


def exponent(units: list[int], seconds: list[float]) -> float:
    """Slope of log(seconds) over log(units); NaN where a command takes no time to speak of."""
    if min(seconds) < 0.05:
        return float("nan")
    return float(np.polyfit(np.log(units), np.log(seconds), 1)[0])


def measure(base: Path | None, sizes: list[int], layers: int, *, rows: bool) -> dict[str, Any]:
    """Seconds and memory of each command at each size."""
    names = (*(ROWS if rows else RECORDS), "write")
    found: dict[str, dict[str, list[float]]] = {name: {"s": [], "MiB": []} for name in names}
    files = []
    kind = ["--rows"] if rows else []
    with tempfile.TemporaryDirectory(dir=base) as name:
        start = Path(name) / "start"
        timed("write", start, start, layers, "--units", "1", *kind)
        for units in sizes:
            folder = Path(name) / str(units)
            for what in ("write", *(ROWS if rows else RECORDS)):
                if what == "resume":
                    removed_commits(folder)
                more = ["--units", str(units), *kind] if what == "write" else []
                seconds, memory = timed(what, start, folder, layers, *more)
                found[what]["s"].append(seconds)
                found[what]["MiB"].append(memory)
                print(f"{units} x {layers}: {what} {seconds:.2f} s, {memory:.0f} MiB", file=sys.stderr)
            files.append(sum(len(names) for _, _, names in os.walk(folder / "s.zarr")))
            shutil.rmtree(folder)
    for kept in found.values():
        kept["exponent"] = [exponent(sizes, kept["s"])]
    return {"layers": layers, "units": sizes, "files": files, "commands": found}


def table(measured: dict[str, Any]) -> Iterator[str]:
    """Lines of Markdown."""
    heads = [f"{units:,} units" for units in measured["units"]]
    yield f"{measured['layers']} layers, CPU seconds (peak MiB); files: " + ", ".join(
        f"{count:,}" for count in measured["files"]
    )
    yield ""
    yield "| command | " + " | ".join(heads) + " | exponent |"
    yield "|---|" + "--:|" * (len(heads) + 1)
    for what, kept in measured["commands"].items():
        cells = [f"{s:.1f} ({m:.0f})" for s, m in zip(kept["s"], kept["MiB"], strict=True)]
        yield f"| {what} | " + " | ".join(cells) + f" | {kept['exponent'][0]:.2f} |"
    yield ""


def main() -> None:
    """Print the tables, and JSON if asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, nargs="+", default=[625, 1250, 2500, 5000, 10_000])
    parser.add_argument("--layers", type=int, default=100)
    parser.add_argument("--read-layers", type=int, default=10)
    parser.add_argument("--folder", type=Path, help="where to write; the system's temporary folder by default")
    parser.add_argument("--json", type=Path)
    for name in ("--child", "--start"):
        parser.add_argument(name, help=argparse.SUPPRESS)
    parser.add_argument("--rows", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child == "write":
        before = time.process_time()
        write_store(given.folder, given.units[0], rows=given.rows)
        print(json.dumps([time.process_time() - before, 0]))
        return
    if given.child:
        child(given.child, Path(given.start), given.folder)
        return
    kinds = ((given.layers, False), (given.read_layers, True))
    measured = [measure(given.folder, given.units, layers, rows=rows) for layers, rows in kinds]
    print("\n".join(line for one in measured for line in table(one)))
    if given.json:
        given.json.write_text(json.dumps(measured, indent=1))


if __name__ == "__main__":
    main()
