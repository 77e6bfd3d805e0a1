"""How the features of a group were made: frozen by the first run, and to be agreed with by every other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cvbench.errors import FingerprintMismatchError, IntegrityError
from cvbench.storage.features.fingerprint import canonical, refuse_if_different
from cvbench.storage.features.keys import GroupKey
from cvbench.storage.features.ledger import Commit, Ledger, body_digest
from cvbench.storage.features.parse import Fields
from cvbench.storage.objects.keys import REPAIR

MADE_AGAIN = "the same `cvbench extract` as before writes it again"
"""The way back from the loss of what a run writes, for error messages."""


def frozen(ledger: Ledger, fingerprint: Mapping[str, Any], codec: str) -> dict[str, Any]:
    """The record that is frozen for a group that is made so."""
    return {"format": ledger.format, "codec": codec, "fingerprint": canonical(fingerprint)}


def agree(ledger: Ledger, group: GroupKey, wanted: Mapping[str, Any]) -> dict[str, Any] | None:
    """The stored fingerprint of a group, or None if there is none; refused if it is not the `frozen` one wanted.

    Raises:
        FingerprintMismatchError: It differs, naming every differing field with both values; or it is lost, and another
            one is named by what is committed.
        IntegrityError: The commits name another fingerprint than the stored one, or it is lost and they name none.
    """
    stored = ledger.get(group.fingerprint)
    if stored is not None:
        try:
            refuse_other(stored, wanted, group)
        except FingerprintMismatchError as error:
            raise _named(error, ledger, group) from None
    _check_made(ledger, group, wanted, lost=stored is None)
    return stored


def _named(error: FingerprintMismatchError, ledger: Ledger, group: GroupKey) -> FingerprintMismatchError:
    """The error, with the name of the weights that the stored features are of, where their digest is what differs."""
    if "weights_digest: stored" in (error.why or ""):
        first = next(ledger.each(ledger.objects.list(group.commits)), None)
        weights = str(first.provenance.get("weights", ""))[:200] if first is not None else ""
        if weights:
            error.why = f"the store has {group.backbone} with weights {weights!r}, asked for are others; {error.why}"
        error.fix = "the same --weights as then, or another --store for these"
    return error


def _check_made(ledger: Ledger, group: GroupKey, wanted: Mapping[str, Any], *, lost: bool) -> None:
    """Refuse to add to commits that were made under another fingerprint than `wanted`."""
    keys = [key for key in ledger.objects.list(group.commits) if key.endswith(".json")]
    # One commit tells whose fingerprint lies there; only where it is lost, what each was made under matters.
    for key in keys if lost else keys[:1]:
        commit = ledger.commit(key)
        made = None if commit is None else commit.fingerprint
        if lost and commit is not None and made is None:
            raise IntegrityError(
                "the fingerprint of these features is lost, and their commits do not say what they were made with",
                where=group.fingerprint,
                why="a store of format 1 does not keep it; nothing was written",
                fix="use another --store",
            )
        if made is not None and made != body_digest(wanted):
            if lost:
                raise FingerprintMismatchError(
                    "the fingerprint of these features is lost, and they were made in another way than asked for; "
                    "nothing was written",
                    where=group.fingerprint,
                    why=f"{key} names another fingerprint",
                    fix="run with the settings of the first run, which writes it again; or use another --store",
                )
            raise _foreign(group, key)


def read_fingerprint(ledger: Ledger, group: GroupKey) -> dict[str, Any] | None:
    """Read the frozen record of a group: {"format", "codec", "fingerprint": {...}}; None if there is none.

    Raises:
        IntegrityError: It is damaged.
    """
    stored = ledger.get(group.fingerprint)
    if stored is not None:
        fields = Fields(stored, group.fingerprint).only("format", "codec", "fingerprint")
        fields.integer("format", least=1, most=ledger.format)
        fields.text("codec")
        fields.mapping("fingerprint")
    return stored


def check_commit(group: GroupKey, commit: Commit, made: str) -> None:
    """Refuse a commit of a group that was made under another fingerprint than the stored one, whose digest is `made`.

    Raises:
        IntegrityError: Naming it.
    """
    if commit.fingerprint not in (None, made):
        raise _foreign(group, group.commit(commit.unit, commit.taps))


def lost(group: GroupKey) -> IntegrityError:
    """The error for a group whose fingerprint is not there, while other records of it are."""
    return IntegrityError(
        f"the fingerprint of {group.path} is lost, so nothing says how its features were made",
        where=group.fingerprint,
        fix=f"{MADE_AGAIN}, and refuses any other",
    )


def _foreign(group: GroupKey, commit: str) -> IntegrityError:
    return IntegrityError(
        "features were made under another fingerprint than the one that is stored",
        where=group.fingerprint,
        why=f"{commit} names another",
        fix=REPAIR,
    )


def refuse_other(stored: Mapping[str, Any], wanted: Mapping[str, Any], group: GroupKey) -> None:
    """Raise FingerprintMismatchError naming every field in which two frozen fingerprints differ; else do nothing."""

    def flat(record: Mapping[str, Any]) -> dict[str, Any]:
        return {"format": record.get("format"), "codec": record.get("codec"), **record.get("fingerprint", {})}

    refuse_if_different(flat(stored), flat(wanted), group.fingerprint)
