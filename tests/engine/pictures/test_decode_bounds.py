"""Pictures are decoded in bounded memory and work: pixels, tiles, scans."""

from __future__ import annotations

import contextlib
import struct
import subprocess
import sys
import threading
import time
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFile

from cvbench.engine.pictures import decode as module
from cvbench.engine.pictures.decode import decode
from cvbench.engine.pictures.room import ThreadRoom
from cvbench.engine.pictures.scans import count_scans
from tests.engine.pictures.small_files import encode, png, rejected, smooth


class TestPixelCap:
    @pytest.mark.parametrize("size", [(10_000, 5_001), (12_000, 8_000), (60_000, 60_000), (2**31 - 1, 2**31 - 1)])
    @pytest.mark.parametrize("action", ["default", "error"])
    def test_refused_from_the_header(self, size: tuple[int, int], action: Any) -> None:
        """PIL itself warns at 89 and raises at 179 megapixels; both must end as ours, whatever the warning filter."""
        with warnings.catch_warnings():
            warnings.simplefilter(action)
            if action == "default":
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            assert rejected(png(*size)).reason == "too-large"

    def test_refused_without_allocating(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def load(self: Any) -> None:
            raise AssertionError("pixels were loaded")

        monkeypatch.setattr(ImageFile.ImageFile, "load", load)
        assert rejected(png(10_000, 5_001)).reason == "too-large"

    @pytest.mark.parametrize(
        ("form", "field", "swapped"),
        [("GIF", "<HH", False), ("BMP", "<ii", False), ("JPEG", ">HH", True), ("TIFF", "", False)],
    )
    def test_in_every_format(self, form: str, field: str, swapped: bool) -> None:
        """The size in the header of a real file is replaced by 40,000 x 40,000."""
        payload = encode(Image.new("RGB", (300, 301)), form)
        if form == "TIFF":  # tags 256 and 257, a number of type 3 or 4 each
            old_new = [
                (struct.pack("<HHII", tag, kind, 1, size), struct.pack("<HHII", tag, kind, 1, 40_000))
                for tag, size in ((256, 300), (257, 301))
                for kind in (3, 4)
            ]
        else:
            size = (301, 300) if swapped else (300, 301)
            old_new = [(struct.pack(field, *size), struct.pack(field, 40_000, 40_000))]
        changed = payload
        for old, new in old_new:
            changed = changed.replace(old, new)
        assert changed != payload
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            assert rejected(changed).reason == "too-large"


def tiled(width: int, height: int, image: tuple[int, int] = (16, 16)) -> bytes:
    """A little-endian RGBA TIFF of one tile, all of whose bytes are there: compressed to a thousandth."""
    packer = zlib.compressobj()
    size = width * height * 4
    data = b"".join(packer.compress(bytes(min(1 << 20, size - at))) for at in range(0, size, 1 << 20)) + packer.flush()
    one = 8 + 2 + 12 * 12 + 4  # where the four depths stand, and behind them the tile
    tags = [(256, image[0]), (257, image[1]), (258, one), (259, 8), (262, 2), (277, 4), (284, 1)]
    tags += [(322, width), (323, height), (324, one + 8), (325, len(data)), (338, 2)]
    kinds = {256: 4, 257: 4, 322: 4, 323: 4, 324: 4, 325: 4}
    entries = b"".join(
        struct.pack("<HHII", tag, kinds.get(tag, 3), 4 if tag == 258 else 1, value) for tag, value in tags
    )
    return b"II*\0" + struct.pack("<IH", 8, 12) + entries + bytes(4) + struct.pack("<4H", 8, 8, 8, 8) + data


BOMB = """
import resource, sys
from pathlib import Path
from PIL import Image  # before the bomb: its own memory
from cvbench.engine.pictures.decode import decode
from cvbench.errors import DecodeError
decode(Path(sys.argv[1]).read_bytes())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    decode(Path(sys.argv[2]).read_bytes())
except DecodeError as error:
    print(error.reason, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


class TestTiles:
    def test_a_tile_may_be_larger_than_the_image(self) -> None:
        assert (decode(tiled(256, 256)) == 255).all(), "transparent black, on white"

    def test_a_small_image_of_a_large_tile_takes_no_memory(self, tmp_path: Path) -> None:
        """A tile is decoded whole: 250 kB of a file, 16 x 16 pixels, would take 250 MB; 2 MB would take 2 GB."""
        bomb = tiled(8_000, 8_000)
        assert len(bomb) < 300_000
        (tmp_path / "small.tif").write_bytes(tiled(16, 16))
        (tmp_path / "bomb.tif").write_bytes(bomb)
        words = [sys.executable, "-c", BOMB, str(tmp_path / "small.tif"), str(tmp_path / "bomb.tif")]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        reason, grown = done.stdout.split()
        assert reason == "too-large"
        assert int(grown) < 50

    def test_images_wait_for_the_room_that_their_tiles_need(self) -> None:
        asked = []

        class Room:
            def taken(self, pixels: int) -> contextlib.AbstractContextManager[None]:
                asked.append(pixels)
                return contextlib.nullcontext()

        decode(tiled(1_024, 512), room=Room())
        assert asked == [1_024 * 512]


class TestBoundedWork:
    def test_scans_are_counted(self) -> None:
        image = Image.fromarray(smooth(64, 64))
        assert count_scans(encode(image, "JPEG"), 100) == 1
        progressive = encode(image, "JPEG", progressive=True)
        assert 5 < count_scans(progressive, 100) < 20
        exif = Image.Exif()
        exif[0x010E] = b"\xff\xda" * 50
        assert count_scans(encode(image, "JPEG", exif=exif), 3) == 1, "the bytes of a comment are no scans"

    def test_a_small_file_of_many_scans_is_refused_before_it_is_decoded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The last scan of a progressive JPEG again and again: every one is a pass over the whole picture."""
        payload = encode(Image.fromarray(smooth(1500, 1500)), "JPEG", progressive=True, quality=10)
        start, end = payload.rindex(b"\xff\xda"), payload.rindex(b"\xff\xd9")
        bomb = payload[:end] + payload[start:end] * 1_000 + payload[end:]
        monkeypatch.setattr(ImageFile.ImageFile, "load", lambda _: pytest.fail("it was decoded"))
        error = rejected(bomb)
        assert error.reason == "too-large"
        assert "scans" in error.what

    def test_pillow_says_nothing(self) -> None:
        code = (
            "import sys, io; from cvbench.engine.pictures.decode import decode; from PIL import Image\n"
            "b = io.BytesIO(); Image.new('1', (12_000, 8_000)).save(b, 'PNG')\n"
            "try: decode(b.getvalue())\nexcept ValueError: print('refused')"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert (done.stdout, done.stderr) == ("refused\n", "")

    @pytest.mark.parametrize(
        ("mode", "form"), [("RGB", "PNG"), ("RGBA", "PNG"), ("L", "PNG"), ("P", "GIF"), ("I;16", "PNG")]
    )
    def test_strips_change_nothing(self, monkeypatch: pytest.MonkeyPatch, mode: str, form: str) -> None:
        if mode == "I;16":
            image = Image.fromarray(np.random.default_rng(0).integers(0, 65_536, (37, 21), dtype=np.uint16))
        else:
            image = Image.fromarray(smooth(37, 21, 4), "RGBA").convert(mode)
        payload = encode(image, form)
        whole = decode(payload)
        monkeypatch.setattr(module, "_STRIP", 50)
        assert np.array_equal(decode(payload), whole)

    def test_large_images_wait_for_room(self) -> None:
        room, most, inside, lock = ThreadRoom(100), 0, 0, threading.Lock()
        two = threading.Barrier(2, timeout=120)

        def enter(pixels: int) -> None:
            nonlocal most, inside
            with room.taken(pixels):
                with lock:
                    inside += pixels
                    most = max(most, inside)
                if pixels < 100:
                    two.wait()  # there is room for two at once, and 30 come in pairs
                time.sleep(0.002)
                with lock:
                    inside -= pixels

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(enter, [40] * 30))
        assert most == 80
        enter(1_000)  # larger than the room: alone
