"""Keys to bytes, where create-if-absent is the only way to write.

A store is a set of objects that are created once and never changed; everything the ledger promises follows from that.
Three places: a local directory (`local`), process memory (`memory`, for tests), object stores (`remote`); `open` finds
the one that a path or URL means.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, ClassVar

from cvbench.errors import IntegrityError
from cvbench.storage.objects import folders
from cvbench.storage.objects.keys import REPAIR

Buffer = bytes | bytearray | memoryview


TEMPORARY = ".tmp-"  # file names that start so are unfinished writes, never objects
MOST_BYTES = 2**31  # of an object that is read whole: no record or chunk of ours comes near


class Objects(ABC):
    """A flat name space of immutable objects. Keys are relative paths with `/`, checked by `check_key` at each use.

    Raises (every method): IntegrityError for a key that could lead out of the store, and for anything but a plain
    object in its place.
    """

    url: str
    sharded: ClassVar[bool] = False  # True where many small objects are dear: one object per unit and layer

    @abstractmethod
    def get(self, key: str) -> bytes | None:
        """The object's bytes, or None if there is none."""

    def take(self, key: str, most: int) -> bytes | None:
        """Get an object as `get`, if it has at most so many bytes.

        Raises:
            IntegrityError: It is longer; nothing was read.
        """
        size = self.size(key)
        if size is not None and size > most:
            raise too_long(key, size, most)
        return None if size is None else self.get(key)

    def part(self, key: str, start: int, stop: int) -> bytes:
        """Bytes start <= i < stop of an object; fewer, or none, where it has no more."""
        return (self.get(key) or b"")[max(start, 0) : max(stop, 0)]

    @abstractmethod
    def create(self, key: str, *parts: Buffer) -> bool:
        """Create `key` from the joined parts, atomically and durably.

        Returns:
            True if this call created it, False if it existed, in which case it is unchanged.

        Raises:
            ResourceError: No space left, or no permission. Nothing of the attempt remains visible.
        """

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove `key` if it is there."""

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[str]:
        """Keys under `prefix` (empty, or a folder with its final `/`), sorted."""

    @abstractmethod
    def size(self, key: str) -> int | None:
        """Bytes of the object, or None if there is none."""

    def settle(self, keys: Iterable[str]) -> None:  # noqa: B027 - nothing to do where a put is durable
        """Make the *names* of created objects survive a power cut (their bytes already do)."""

    def leftovers(self) -> Sequence[str]:
        """Unfinished writes that a killed process left behind, or that are under way."""
        return []

    def sweep(self) -> Sequence[str]:
        """Remove the unfinished writes of processes of this machine that are no more; returns their keys."""
        return []

    def survey(self, prefix: str = "") -> Sequence[tuple[str, folders.Kind]]:
        """All that lies under `prefix`, and its kind: also links, devices and pipes, which `list` refuses."""
        return [(key, "file") for key in self.list(prefix)]

    def blake3(self, key: str) -> str | None:
        """blake3 of the object, hex, or None if there is none."""
        import blake3

        data = self.get(key)
        return None if data is None else blake3.blake3(data).hexdigest()

    @abstractmethod
    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by its place: another process opens the same objects."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"


def too_long(key: str, size: int, most: int) -> IntegrityError:
    """The error for an object that is longer than what it may be."""
    return IntegrityError(
        "an object of the store is too long", where=key, why=f"{size} bytes, at most {most}", fix=REPAIR
    )
