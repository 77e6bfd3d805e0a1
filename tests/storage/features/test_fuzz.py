"""Whatever a record, a node or a partial holds: cvbench's own error or the values that were written, no traceback.

Mutants are drawn from seeds. "Harmed" ones are what a disk or a hand does to an object; whatever is still read must be
what was written. "Forged" ones have right digests all the way up, as a stranger can make them: there any value may
have been meant, so that only the kind of the error is held.
"""

from __future__ import annotations

import contextlib
import json
import random
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import xarray

from cvbench.errors import CvbenchError, IntegrityError
from cvbench.jobs.catalogue.store import info
from cvbench.storage.care.verify import VerifyReport, verify
from cvbench.storage.features import ArraySpec, BadSample, FeatureStore
from cvbench.storage.features.ledger import digest, seal
from cvbench.storage.features.parse import MOST_BYTES, read_json
from cvbench.storage.objects.memory import MemoryObjects
from cvbench.storage.results.outcomes import (
    ResultKey,
    get_partial,
    list_partials,
    list_results,
    load_result,
    put_partial,
    save_result,
)
from tests.storage.small_store import GROUP, MAPS, UNITS, declare, flip_bit, write_unit

RESULT = ResultKey("digits", "all", "cka", "0123abcd")
DIMS = ("sample", "row", "column", "channel")
POOLED = ArraySpec("blocks.0", (4,), "float16", DIMS[::3], {"grid": [2, 2], "prefix_tokens": 1, "position": 0})
WHOLE = ArraySpec("blocks.0", (2, 2, 4), "float16", DIMS, {"grid": [2, 2], "prefix_tokens": 1, "position": 0})
HARMED = (3, pytest.param(6, marks=pytest.mark.slow))
FORGED = (4, pytest.param(12, marks=pytest.mark.slow))
"""Mutants of each object; their number is the seed."""
Data = dict[str, bytes]


def made() -> Data:
    """A store with every kind of object."""
    objects = MemoryObjects("fuzz-made")
    objects.data.clear()
    store = FeatureStore.open(objects, "a")
    declare(store, [POOLED])
    declare(store, [WHOLE], MAPS, codec="zstd")
    bad = [BadSample(17, "test/00017", "truncated", "cut off")]
    for spec, group in ((POOLED, GROUP), (WHOLE, MAPS)):
        for unit in UNITS[::2]:
            write_unit(store, unit, [spec], group, bad if unit.index == 2 else [])
    put_partial(store, RESULT, 0, {"hsic": np.eye(2), "n": np.array(3)})
    attrs = {"samples": 7, "p": [0.5]}
    save_result(store, RESULT, xarray.Dataset({"cka": (("a", "b"), np.eye(2))}, coords={"a": ["x", "y"]}, attrs=attrs))
    return dict(objects.data)


MADE = made()
KINDS = [key for key in MADE if key.endswith((".json", ".safetensors")) and "000002-" not in key]


def plain(value: Any) -> Any:
    """`value` in a form that `==` compares."""
    if isinstance(value, np.ndarray):
        return (value.shape, value.dtype.str, value.tobytes())
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    if isinstance(value, xarray.Dataset):
        return {name: plain(v.values) for name, v in value.variables.items()} | {"attrs": repr(value.attrs)}
    return value


def uses(data: Data) -> dict[str, Callable[[], Any]]:
    """What commands do with a store, each a function of its own."""
    objects = MemoryObjects("fuzz")
    objects.data.clear()
    objects.data.update(data)

    def store() -> FeatureStore:
        return FeatureStore.open(objects)

    def layer(group: Any) -> Any:
        found = store().layer(group, "blocks.0")
        return plain([found.numpy().tobytes(), found.rows.tolist(), repr(found.bad), found.dims, repr(found.attrs)])

    return {
        "info": lambda: info(objects.url).as_dict(),
        "pooled": lambda: layer(GROUP),
        "maps": lambda: layer(MAPS),
        "status": lambda: plain(store().status("digits", "all", "test_vit@32", "pooled", "blocks.0")),
        "samples": lambda: plain(store().samples("digits", "all")),
        "split": lambda: repr({n: v for n, v in vars(store().split("digits", "all")).items() if n[0] in "nsubc"}),
        "fingerprint": lambda: store().fingerprint(GROUP),
        "results": lambda: [plain(load_result(store(), key)) for key in list_results(store())],
        "partials": lambda: [plain(get_partial(store(), RESULT, unit)) for unit in list_partials(store(), RESULT)],
        "pending": lambda: repr(store().pending(GROUP, ["blocks.0"], UNITS)),
    }


def checks() -> dict[str, Callable[[], VerifyReport]]:
    """`verify` of the same store, after `uses`."""
    return {
        "verify": lambda: verify(FeatureStore.open("memory://fuzz")),
        "verify --deep": lambda: verify(FeatureStore.open("memory://fuzz"), deep=True),
    }


SOUND = {name: use() for name, use in uses(MADE).items()}


def harmed(data: bytes, rng: random.Random) -> bytes:
    """One thing that happens to bytes, or to a document under an editor, digests left as they were."""
    at = rng.randrange(len(data))
    kind = rng.randrange(8)
    if kind == 0:
        return flip_bit(data, rng.randrange(8 * len(data)))
    if kind == 1:
        return data[:at]
    if kind == 2:
        return data[:at] + rng.randbytes(rng.randrange(1, 9)) + data[at:]
    if kind == 3:
        return b""
    document = json.loads(_document(data))
    return json.dumps(document, indent=3).encode() if kind == 4 else _text(forged(document, rng), rng)


def _document(data: bytes) -> str:
    """The JSON in an object; of a partial, its table."""
    if data[:1] == b"{":
        return data.decode()
    return data[8 : 8 + int.from_bytes(data[:8], "little")].decode()


HOSTILE: list[Any] = [
    *(None, True, False, -1, 0, 1, 2, 7, 10**9, 2**53, 2**63, 10**400, -(10**400), 0.5, -0.0, 1e308),
    *("", "x", "\0", "\ud800", "../../x", "/abs/x", "0" * 64, "é" * 300, "float16", "object", "bytes", "zstd"),
    *([], {}, [0], [[]], [None], [-1, 0], {"x": 1}, {"name": "numcodecs.pickle"}, ["a", 1], [10**400]),
]


def paths(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place inside a document."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in items:
        yield (*at, name)
        yield from paths(item, (*at, name))


def forged(document: Any, rng: random.Random) -> Any:
    """A document with one place changed, removed, doubled or added to."""
    places = list(paths(document))
    if not places or rng.random() < 0.05:
        return rng.choice(HOSTILE)
    *way, last = rng.choice(places)
    parent = document
    for step in way:
        parent = parent[step]
    kind = rng.randrange(8)
    if kind == 0:
        del parent[last]
    elif kind == 1 and isinstance(parent, dict):
        parent["unknown"] = rng.choice(HOSTILE)
    elif kind == 2 and isinstance(parent, dict):
        parent[rng.choice(["../x", "", "x" * 300, "\ud800"])] = parent.pop(last)
    elif kind == 3 and isinstance(parent, list):
        parent += parent * 3
    elif kind == 4 and isinstance(parent[last], int):
        parent[last] += rng.choice([-1, 1, 10**6])
    else:
        parent[last] = rng.choice(HOSTILE)
    return document


def _text(document: Any, rng: random.Random) -> bytes:
    """JSON, at times with what JSON has not: NaN, a name twice, another coding, a depth without end."""
    text = json.dumps(document)
    kind = rng.randrange(12)
    if kind == 0:
        return text.replace("0", "NaN", 1).encode()
    if kind == 1:
        return text.replace("{", '{"a":1,"a":2,', 1).encode()
    if kind == 2:
        return text.encode("utf-16")
    if kind == 3:
        return (text[:-1] + ',"deep":' + "[" * 100_000 + "]" * 100_000 + "}").encode()
    if kind == 4:
        return text.replace('"', '"\xff', 1).encode("latin-1", "replace")
    return text.encode()


def forge(data: Data, key: str, rng: random.Random) -> Data:
    """The store with one object changed, and every digest above it made right."""
    found = dict(data)
    if key.endswith(".safetensors"):
        old = found[key]
        table = _text(forged(json.loads(_document(old)), rng), rng)
        values = old[8 + int.from_bytes(old[:8], "little") : -4]
        body = len(table).to_bytes(8, "little") + table + values
        found[key] = body + zlib.crc32(body).to_bytes(4, "little")
    elif key.startswith("ledger/") and key != "ledger/zarr.json":
        record = forged(json.loads(found[key])["record"], rng)
        text = _text(record, rng)
        body = json.dumps(record, sort_keys=True, separators=(",", ":")).encode()
        body = body if rng.random() < 0.7 else text
        found[key] = b'{"blake3":"' + digest(body).encode() + b'","record":' + body + b"}\n"
    else:
        found[key] = _text(forged(json.loads(found[key]), rng), rng)
        for name in found:
            if name.startswith("ledger/") and name.endswith(".json") and f'"{key}"'.encode() in found[name]:
                found[name] = seal(_renamed(json.loads(found[name])["record"], key, found[key]))
    return found


def _renamed(value: Any, key: str, data: bytes) -> Any:
    if not isinstance(value, dict):
        return value
    now = {"size": len(data), "blake3": digest(data)}
    found = {name: now if name == key else _renamed(item, key, data) for name, item in value.items()}
    return found | now if found.get("key") == key else found


@pytest.mark.parametrize("mutants", HARMED)
@pytest.mark.parametrize("key", KINDS)
def test_harmed_objects_are_refused_or_read_as_they_were(key: str, mutants: int) -> None:
    rng = random.Random(f"{key} {mutants}")
    for _ in range(mutants):
        data = MADE | {key: harmed(MADE[key], rng)}
        for name, use in uses(data).items():
            try:
                found = use()
            except CvbenchError:
                continue
            assert found == SOUND[name], (name, data[key][:2000])
        try:
            named = {problem.key for problem in checks()["verify --deep"]().problems if problem.harmful}
        except CvbenchError:
            continue
        assert key in named or data == MADE, data[key][:2000]


@pytest.mark.parametrize("flips", [30, pytest.param(200, marks=pytest.mark.slow)])
def test_no_flipped_bit_changes_a_number_and_verify_names_each(flips: int) -> None:
    """Drawn over the bytes of the whole store, chunks of every codec included; the seed is the number of flips."""
    rng = random.Random(flips)
    keys, sizes = list(MADE), [len(data) for data in MADE.values()]
    for number in range(flips):
        (key,) = rng.choices(keys, sizes) if number % 2 else [rng.choice(keys)]  # by bytes, and by objects
        bit = rng.randrange(8 * len(MADE[key]))
        said = f"seed {flips}, flip {number}: bit {bit} of {key}"
        for name, use in uses(MADE | {key: flip_bit(MADE[key], bit)}).items():
            with contextlib.suppress(CvbenchError):
                assert use() == SOUND[name], f"{said} changed {name}"
        try:
            found = checks()["verify --deep"]().problems
        except CvbenchError:  # the root node: what lies there cannot be opened as a store
            found = ()
        assert key == "zarr.json" or key in {problem.key for problem in found if problem.harmful}, said


@pytest.mark.parametrize("mutants", FORGED)
@pytest.mark.parametrize("key", KINDS)
def test_forged_objects_end_in_our_own_error(key: str, mutants: int) -> None:
    rng = random.Random(f"{key} {mutants}")
    for _ in range(mutants):
        data = forge(MADE, key, rng)
        for name, use in {**uses(data), **checks()}.items():
            try:
                use()
            except CvbenchError:
                continue
            except Exception as error:
                raise AssertionError(f"{name}: {error!r}\n{data[key][:2000]!r}") from error


@pytest.mark.parametrize(
    "text",
    [
        b'{"a":1,"a":1}',
        b'{"a":NaN}',
        b'{"a":-Infinity}',
        b'{"a":1e999}',
        b'{"a":"\xff"}',
        b"\xff\xfe{\x00}\x00",
        b"[" * 200_000,
        b"[" * 100 + b"]" * 100,
        b'{"a":' + b"9" * 5000 + b"}",
        b"",
        b"{",
        b"{} {}",
    ],
)
def test_what_is_no_json_of_ours(text: bytes) -> None:
    with pytest.raises(IntegrityError) as error:
        read_json(text, "some/key")
    assert error.value.where == "some/key"


def test_a_record_of_gigabytes_is_refused_before_it_is_read() -> None:
    class Long(MemoryObjects):
        def size(self, key: str) -> int | None:
            return 8 << 30 if key == GROUP.fingerprint else super().size(key)

        def get(self, key: str) -> bytes | None:
            assert key != GROUP.fingerprint, "it was read"
            return super().get(key)

    objects = Long("fuzz-long")
    objects.data.update(MADE)
    with pytest.raises(IntegrityError, match="too long") as error:
        FeatureStore.open(objects).fingerprint(GROUP)
    assert error.value.where == GROUP.fingerprint
    with pytest.raises(IntegrityError, match="too long"):
        read_json(b" " * (MOST_BYTES + 1), "k")
