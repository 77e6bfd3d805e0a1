"""Images a second from JPEG to batches, decoded by threads and by processes, side by side in one run.

    python bench/decode.py --images 2048 --workers 1 2

Each row is a feed as an actor has it (`jobs.extraction.decoding.feed`), read to its end; rounds alternate, medians are
printed. In the last two columns a second thread of the process calls small operations of torch without pause, as the
one does that launches kernels on a card: what decoding is then, and what that thread keeps of its rate.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from gpu_extract import write_images
from numpy.typing import NDArray

from cvbench.engine.models.host_copy import Copies
from cvbench.engine.pictures.geometry import Geometry
from cvbench.jobs.extraction.decoding.choice import Decoding
from cvbench.jobs.extraction.decoding.feed import Feed
from cvbench.storage.datasets import Dataset, open_dataset
from cvbench.storage.features.units import Unit

ONE = (Geometry((224, 224), 256),)
PAIR = (*ONE, Geometry((224, 224), 248))
BATCH = 64


@contextmanager
def launching(count: list[int]) -> Iterator[None]:
    """A thread that calls small operations without pause within the context; how many of them is added to `count`."""
    done = threading.Event()

    def launch() -> None:
        values, calls = torch.ones(8), 0
        while not done.is_set():
            for _ in range(100):
                values.add_(0.0)
            calls += 100
        count.append(calls)

    thread = threading.Thread(target=launch)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def read(feed: Feed, samples: int) -> tuple[float, float]:
    """Images a second of one unit, and CPU seconds of this process for each of them."""
    begin, cpu = time.perf_counter(), time.process_time()
    reading = feed.start(Unit(0, 0, samples))
    for _ in reading:
        pass
    reading.close()
    return samples / (time.perf_counter() - begin), (time.process_time() - cpu) / samples


def main() -> None:
    """Run, and print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=1024)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    alone: list[int] = []
    begin = time.perf_counter()
    with launching(alone):
        time.sleep(2)
    pace = alone[0] / (time.perf_counter() - begin)
    with tempfile.TemporaryDirectory() as scratch:
        write_images(Path(scratch) / "images", asked.images)
        dataset = open_dataset(f"folder:{scratch}/images")
        order = np.random.default_rng(0).permutation(asked.images)
        print("| geometries | workers | decoded by | images/s | CPU ms/image here | busy: images/s | launches kept |")
        print("|---|--:|---|--:|--:|--:|--:|")
        for name, geometries in (("one", ONE), ("two", PAIR)):
            for number in asked.workers:
                _rows(name, number, dataset, order, geometries, asked.rounds, pace)


def _rows(
    name: str,
    number: int,
    dataset: Dataset,
    order: NDArray[np.int64],
    geometries: tuple[Geometry, ...],
    rounds: int,
    pace: float,
) -> None:
    feeds = {
        how: Feed(
            dataset, order, geometries, batch=BATCH, copies=Copies("cpu"), decoding=Decoding(number, how == "processes")
        )
        for how in ("threads", "processes")
    }
    found: dict[str, list[tuple[float, float, float, float]]] = {how: [] for how in feeds}
    for _ in range(rounds + 1):
        for how, feed in feeds.items():
            rate, cpu = read(feed, len(order))
            calls: list[int] = []
            begin = time.perf_counter()
            with launching(calls):
                busy, _ = read(feed, len(order))
            found[how].append((rate, cpu * 1e3, busy, calls[0] / (time.perf_counter() - begin) / pace))
    for how, rows in found.items():
        rate, cpu, busy, kept = (statistics.median(column) for column in zip(*rows[1:], strict=True))
        print(f"| {name} | {number} | {how} | {rate:,.0f} | {cpu:.2f} | {busy:,.0f} | {kept:.2f} |", flush=True)
        feeds[how].close()


if __name__ == "__main__":
    main()
