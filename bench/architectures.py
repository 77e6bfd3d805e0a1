"""Every architecture of timm, on the meta device: whether it builds, and what is known of its layers.

    python bench/architectures.py [--only 'vit_*'] [--workers 2] [--seconds 120] [--out architectures.jsonl] [--write]

For each model of `timm.list_models()`: its taps and how many `blocks` means; whether the blocks run in the order that
they are listed in; whether each lies on a grid (or is a vector, for models without space left); and the default target
of class activation maps, or why there is none. Shapes only, no weights. Each worker is a process that is killed, and
started anew, where a model takes longer than `--seconds`. What `--out` holds already is not computed again.

With `--content`, on the CPU with random weights and one image of noise: how many of the maps that timm's own
`forward_intermediates` gives (norm=False) are found, to 1e-4 of their largest value, among the taps' maps.

Prints a table by family, and its total. `--write` puts it into docs/reference/architectures.md. Bound: of all models
99 % have blocks whose grids are known; the exit code says whether that holds.
"""

from __future__ import annotations

import argparse
import fnmatch
import json
import os
import select
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "docs/reference/architectures.md"
BEGIN, END = "<!-- begin of the table -->\n", "<!-- end of the table -->\n"
BOUND = 0.99


@dataclass(frozen=True)
class Found:
    """What is known of one model.

    Attributes:
        model: timm's name.
        family: timm's module that it is in.
        taps: Number of taps.
        blocks: Number of taps that `blocks` means; 0 if none is known.
        gridded: Those of them that lie on a grid with a known order, or are vectors.
        reordered: Those whose tokens are put in order.
        in_order: Whether they are listed as they run, by the numbers in their names.
        target: Default target of class activation maps; "" if there is none.
        why: Why it does not build, or has no target.
        matched: (maps that timm gives, those of them found among the taps); with `--content`.
    """

    model: str
    family: str
    taps: int = 0
    blocks: int = 0
    gridded: int = 0
    reordered: int = 0
    in_order: bool = False
    target: str = ""
    why: str = ""
    matched: tuple[int, int] | None = field(default=None)

    @property
    def builds(self) -> bool:
        return self.taps > 0

    @property
    def known(self) -> bool:
        """Whether it builds and has blocks, in order, that all lie on a grid."""
        return 0 < self.blocks == self.gridded and self.in_order


def look(model: str) -> Found:
    """Outline a model and say what is known of its layers; an error of any kind is its answer."""
    from timm.models import _registry

    from cvbench.engine.analyses.cam.target import default_target, has_grid
    from cvbench.engine.models.backbones import BackboneSpec, describe
    from cvbench.errors import CvbenchError

    family = _registry._model_to_module[model]
    spec = BackboneSpec(model, "random")
    try:
        every = describe(spec, taps=["*"]).layouts
    except Exception as error:  # whatever a model raises is the finding
        return Found(model, family, why=" ".join(f"{type(error).__name__}: {error}".split())[:300])
    named = describe(spec, taps=["blocks"])
    if named.guessed:
        return Found(model, family, len(every), why="no name tells its blocks")
    blocks = named.layouts
    known = [at for at in blocks.values() if has_grid(at) or at.kind == "vector" or at.height * at.width == 1]
    try:
        target, why = default_target(every, list(blocks)), ""
    except CvbenchError as error:
        target, why = "", " ".join(str(error).split())[:300]
    reordered = sum(bool(at.digits) for at in blocks.values())
    return Found(
        model, family, len(every), len(blocks), len(known), reordered, numbered_in_order(list(blocks)), target, why
    )


def numbered_in_order(names: Sequence[str]) -> bool:
    """Whether names that differ by their last number only are listed in its order.

    >>> numbered_in_order(["stages.0.1", "stages.1.0", "stages.1.1"]), numbered_in_order(["blocks.1", "blocks.0"])
    (True, False)
    """
    last: dict[str, int] = {}
    for name in names:
        stem, _, number = name.removesuffix(".out0").rpartition(".")
        if number.isdigit():
            if int(number) < last.get(stem, -1):
                return False
            last[stem] = int(number)
    return True


def content(model: str) -> tuple[int, int]:
    """(maps of timm's `forward_intermediates`, those found among the taps of the same shape), random weights."""
    import torch

    from cvbench.engine.models.backbones import BackboneSpec, Request, load_backbone

    torch.set_num_threads(1)
    backbone = load_backbone(BackboneSpec(model, "random"))
    size = backbone.preprocess.geometry.size
    images = torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        theirs = backbone.network.forward_intermediates(backbone.inputs(images), intermediates_only=True)
    wanted = [maps.permute(0, 2, 3, 1) for maps in theirs]
    shapes = {tuple(maps.shape[1:]) for maps in wanted}
    layouts = backbone.layouts(backbone.tap_names())
    taps = [tap for tap, at in layouts.items() if (at.height, at.width, at.channels) in shapes]
    ours = backbone.run(images, [Request("maps", tap) for tap in taps], dtype="float32")
    found = sum(any(_same(maps, values) for values in ours.values()) for maps in wanted)
    return len(wanted), found


def _same(theirs: Any, ours: Any) -> bool:
    return theirs.shape == ours.shape and float((theirs - ours).abs().max()) <= 1e-4 * float(theirs.abs().max())


def serve(*, with_content: bool) -> None:
    """Answer names on standard input, one JSON record a line."""
    from dataclasses import replace

    import torch

    from cvbench.engine.models import backbones

    torch.set_num_threads(1)
    for line in sys.stdin:
        found = look(line.strip())
        if with_content and found.builds:
            try:
                found = replace(found, matched=content(found.model))
            except Exception as error:  # likewise
                found = replace(found, matched=(0, 0), why=f"{type(error).__name__}: {error}"[:300])
        backbones._make_outline.cache_clear()
        print(json.dumps(asdict(found)), flush=True)


class Worker:
    """A process that looks at one model after the other."""

    def __init__(self, *, with_content: bool) -> None:
        self._with_content = with_content
        self._process: subprocess.Popen[str] | None = None
        self.model, self.since = "", 0.0

    def ask(self, model: str) -> None:
        if self._process is None:
            command = [sys.executable, __file__, "--serve", *(["--content"] if self._with_content else [])]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdin is not None
        self.model, self.since = model, time.monotonic()
        self._process.stdin.write(f"{model}\n")
        self._process.stdin.flush()

    @property
    def output(self) -> Any:
        assert self._process is not None
        return self._process.stdout

    def answer(self) -> str:
        line: str = self.output.readline()
        return line

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()  # closes its pipes, too
            self._process = None


def look_at_all(models: Iterable[str], workers: int, seconds: float, *, with_content: bool = False) -> Iterator[Found]:
    """Look at models in several processes, each model for so many seconds at most; in the order that they are done."""
    from timm.models import _registry

    waiting = list(models)[::-1]
    pool = [Worker(with_content=with_content) for _ in range(min(workers, len(waiting)))]
    busy: list[Worker] = []
    try:
        while waiting or busy:
            for worker in pool:
                if worker not in busy and waiting:
                    worker.ask(waiting.pop())
                    busy.append(worker)
            ready = select.select([worker.output for worker in busy], [], [], 1.0)[0]
            for worker in list(busy):
                late = time.monotonic() - worker.since > seconds
                if worker.output not in ready and not late:
                    continue
                line = worker.answer() if worker.output in ready else ""
                busy.remove(worker)
                if line:
                    yield _parsed(line)
                    continue
                worker.stop()
                why = f"took longer than {seconds:g} s" if late else "the process ended"
                yield Found(worker.model, _registry._model_to_module[worker.model], why=why)
    finally:
        for worker in pool:
            worker.stop()


COLUMNS = ("family", "models", "build", "with blocks", "grids known", "put in order", "target", "blocks of one")


def table(found: Sequence[Found]) -> list[list[str]]:
    """A row for each family, and the total."""
    families: dict[str, list[Found]] = {}
    for one in sorted(found, key=lambda one: (one.family, one.model)):
        families.setdefault(one.family, []).append(one)
    rows = [_row(family, of_it) for family, of_it in families.items()]
    return [*rows, [*_row("all", found)[:-1], ""]]


def _row(name: str, found: Sequence[Found]) -> list[str]:
    counts = [
        len(found),
        sum(one.builds for one in found),
        sum(one.blocks > 0 for one in found),
        sum(one.known for one in found),
        sum(one.reordered > 0 for one in found),
        sum(bool(one.target) for one in found),
    ]
    first = next((one for one in found if one.builds), None)
    return [name, *map(str, counts), f"{first.model}: {first.blocks}" if first else ""]


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """The table as it stands in the page."""
    lines = [COLUMNS, ["---", *["--:"] * (len(COLUMNS) - 2), "---"], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def write_page(found: Sequence[Found]) -> None:
    """Put the table, and what is not known, into the page."""
    import timm

    text = PAGE.read_text(encoding="utf-8")
    head, rest = text.split(BEGIN)
    tail = rest.split(END)[1]
    short = [one for one in found if not one.known]
    named = "".join(f"- `{one.model}`: {one.why or _short(one)}\n" for one in sorted(short, key=lambda one: one.model))
    every = len(timm.list_models())
    said = f"timm {timm.__version__}, {len(found)} of its {every} models.\n\n{markdown(table(found))}"
    PAGE.write_text(f"{head}{BEGIN}{said}\n" + (f"Not all is known of:\n\n{named}" if named else "") + END + tail)


def _short(one: Found) -> str:
    if not one.blocks:
        return "no blocks"
    return f"{one.blocks - one.gridded} of {one.blocks} blocks without a grid" if one.in_order else "another order"


def main() -> int:
    """Look, print the table, and say by the exit code whether the bound holds."""
    parser = argparse.ArgumentParser(description="what is known of every architecture of timm")
    parser.add_argument("--only", action="append", default=[], help="names or globs")
    parser.add_argument("--one-of-each", action="store_true", help="the first model of each family")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--out", type=Path, help="JSON lines, read and appended to")
    parser.add_argument("--content", action="store_true")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(with_content=given.content)
        return 0
    models = chosen(given.only, one_of_each=given.one_of_each)
    there = _read(given.out)
    found = [there[model] for model in models if model in there]
    todo = [model for model in models if model not in there]
    for one in look_at_all(todo, given.workers, given.seconds, with_content=given.content):
        found.append(one)
        if given.out:
            with given.out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(one)) + "\n")
    for row in [list(COLUMNS), *table(found)]:
        print("  ".join(cell.ljust(26 if i == 0 else 12) for i, cell in enumerate(row)).rstrip())
    for why, count in Counter(one.why or _short(one) for one in found if not one.known).most_common():
        print(f"{count} models: {why}")
    if given.content:
        pairs = [(one.family, one.model, *one.matched) for one in found if one.matched]
        print(f"maps of timm found: {sum(pair[3] for pair in pairs)} of {sum(pair[2] for pair in pairs)}")
        for family, model, wanted, matched in pairs:
            if matched < wanted:
                print(f"  {family} {model}: {matched} of {wanted}")
    if given.write:
        write_page(found)
    return 0 if sum(one.known for one in found) >= BOUND * len(found) else 1


def chosen(patterns: Sequence[str], *, one_of_each: bool = False) -> list[str]:
    """The models that are asked for, the first of every family first: a run cut short then says most."""
    import timm
    from timm.models import _registry

    every = timm.list_models()
    models = [name for name in every if not patterns or any(fnmatch.fnmatch(name, one) for one in patterns)]
    seen: Counter[str] = Counter()
    turns = {}
    for name in models:
        family = _registry._model_to_module[name]
        turns[name] = seen[family]
        seen[family] += 1
    return [name for name in sorted(models, key=turns.__getitem__) if not one_of_each or turns[name] == 0]


def _read(path: Path | None) -> dict[str, Found]:
    if path is None or not path.is_file():
        return {}
    found = [_parsed(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {one.model: one for one in found}


def _parsed(line: str) -> Found:
    record = json.loads(line)
    return Found(**{**record, "matched": record["matched"] and tuple(record["matched"])})


if __name__ == "__main__":
    sys.exit(main())
