"""Objects in the memory of this process, for tests."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any, ClassVar

from cvbench.storage.objects.base import Buffer, Objects
from cvbench.storage.objects.keys import check_key


class MemoryObjects(Objects):
    """A dictionary shared by all who open the same name in this process."""

    _shared: ClassVar[dict[str, tuple[dict[str, bytes], threading.Lock]]] = {}
    _registry: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, name: str = "") -> None:
        self.url = f"memory://{name}"
        with self._registry:
            self.data, self._lock = self._shared.setdefault(name, ({}, threading.Lock()))

    def __reduce__(self) -> tuple[Any, ...]:
        return (MemoryObjects, (self.url.removeprefix("memory://"),))

    def get(self, key: str) -> bytes | None:
        return self.data.get(check_key(key))

    def size(self, key: str) -> int | None:
        data = self.data.get(check_key(key))
        return None if data is None else len(data)

    def create(self, key: str, *parts: Buffer) -> bool:
        data = b"".join(parts)
        with self._lock:
            if check_key(key) in self.data:
                return False
            self.data[key] = data
            return True

    def delete(self, key: str) -> None:
        with self._lock:
            self.data.pop(check_key(key), None)

    def list(self, prefix: str = "") -> Iterator[str]:
        with self._lock:
            return iter(sorted(key for key in self.data if key.startswith(prefix)))
