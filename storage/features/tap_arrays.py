"""The array of a tap: its node in the hierarchy, and the record that says it is there as it was made."""

from __future__ import annotations

from cvbench.errors import IntegrityError
from cvbench.storage.features.encoding import Encoding
from cvbench.storage.features.keys import GroupKey
from cvbench.storage.features.ledger import Ledger, ObjectRecord, digest
from cvbench.storage.features.making import MADE_AGAIN
from cvbench.storage.features.nodes import check_attributes, create_array
from cvbench.storage.features.parse import MOST_BYTES, Fields
from cvbench.storage.objects.keys import REPAIR


def create(ledger: Ledger, group: GroupKey, tap: str, document: bytes) -> None:
    """Create the array with its record, which the caller settles; or accept one that is the same.

    Raises:
        FingerprintMismatchError: As `nodes.create_array`.
        IntegrityError: So too; or its node is lost, and was another one.
    """
    path = f"{group.path}/{tap}"
    node = {"key": f"{path}/zarr.json", "size": len(document), "blake3": digest(document)}
    record = {"format": ledger.format, "tap": tap, "node": node}
    known = ledger.get(group.array(tap))
    if known is not None and known != record:
        raise IntegrityError(
            "an array's metadata is lost, and this version would write other bytes than were recorded",
            where=f"{path}/zarr.json",
            fix=REPAIR,
        )
    create_array(ledger.objects, path, document)
    ledger.put(group.array(tap), record, settle=False)


def read(ledger: Ledger, group: GroupKey, tap: str) -> Encoding | None:
    """Read the encoding of the array; None if there is neither node nor record.

    Raises:
        IntegrityError: One of the two is lost, damaged, or not that of the other.
    """
    path = f"{group.path}/{tap}"
    key = f"{path}/zarr.json"
    record, node = ledger.get(group.array(tap)), ledger.objects.take(key, MOST_BYTES)
    if record is None and node is None:
        return None
    if record is None or node is None:
        lost = group.array(tap) if record is None else key
        raise IntegrityError("half of what describes an array is lost", where=lost, fix=MADE_AGAIN)
    fields = Fields(record, group.array(tap)).only("format", "tap", "node")
    named = fields.object("node").only("key", "size", "blake3")
    if fields.text("tap") != tap or named.text("key") != key:
        raise fields.wrong("node", f"it is not that of {path}")
    ObjectRecord(named.integer("size"), named.hex("blake3")).check_digest(node, key)
    encoding = Encoding(path, node)
    check_attributes(encoding)
    return encoding
