"""Everything cvbench raises on purpose.

CvbenchError                                       exit  meaning
├── UsageError             (also ValueError)          2  an option, name or configuration is wrong
│   ├── UnknownNameError   (also KeyError)            2  a dataset, backbone, tap, view ... that does not exist
│   └── EvaluationSuspectError                        2  an accuracy near chance: labels or weights do not fit
├── DataUnavailableError   (also FileNotFoundError)   3  data set, weights or features are not there
├── IntegrityError                                    4  stored or read bytes are not what was recorded
│   └── FingerprintMismatchError                      4  the store holds the same thing made in another way
├── IncompleteError                                   5  finished, but not everything that was asked for
├── ResourceError          (also OSError)             6  disk, memory or device do not suffice
│   ├── TransientError                                6  a service or a disk failed for a while: may be well later
│   └── AccessError                                   8  an object store refuses us, or no credentials are found
├── ClusterError                                      8  Ray cannot be reached or lost its workers
└── DecodeError            (also ValueError)          -  one image cannot be read; recorded, never fatal by itself

Each error says *what* happened, and where it helps *where*, *why* and how to *fix* it (a command to paste).
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable
from typing import ClassVar


class CvbenchError(Exception):
    """Base of every deliberate error.

    Args:
        what: One sentence, what went wrong.
        where: File, sample id, store key or option concerned.
        why: The cause, if it is not obvious.
        fix: What to do, best a command to paste.
        did_you_mean: Near names.
    """

    exit_code: ClassVar[int] = 1
    code: ClassVar[str] = "error"

    def __init__(
        self,
        what: str,
        *,
        where: str | None = None,
        why: str | None = None,
        fix: str | None = None,
        did_you_mean: Iterable[str] = (),
    ) -> None:
        super().__init__(what)
        self.what = what
        self.where = where
        self.why = why
        self.fix = fix
        self.did_you_mean = tuple(did_you_mean)

    def __str__(self) -> str:
        lines = [self.what]
        if self.did_you_mean:
            lines.append(f"did you mean: {', '.join(self.did_you_mean)}?")
        for label in ("where", "why", "fix"):
            value = getattr(self, label)
            if value:
                lines.append(f"{label}: {value}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders (Ray); the keyword fields must survive pickling.
        return (_rebuild, (type(self), self.what, dict(self.as_dict(), code=None)))

    def as_dict(self) -> dict[str, object]:
        """The fields of the error, the same in text and in JSON."""
        return {
            "code": self.code,
            "what": self.what,
            "where": self.where,
            "why": self.why,
            "fix": self.fix,
            "did_you_mean": list(self.did_you_mean),
        }


def _rebuild(cls: type[CvbenchError], what: str, fields: dict[str, object]) -> CvbenchError:
    error = cls.__new__(cls)
    CvbenchError.__init__(error, what)
    error.where, error.why, error.fix = (fields[k] for k in ("where", "why", "fix"))  # type: ignore[assignment]
    error.did_you_mean = tuple(fields["did_you_mean"])  # type: ignore[arg-type]
    for name, value in fields.items():
        if name not in {"code", "what", "where", "why", "fix", "did_you_mean"}:
            setattr(error, name, value)
    return error


class UsageError(CvbenchError, ValueError):
    """An option, a name or a configuration is wrong."""

    exit_code = 2
    code = "usage"


class UnknownNameError(UsageError, KeyError):
    """A name that is in no registry; knows its neighbours."""

    code = "unknown-name"

    @classmethod
    def among(cls, kind: str, name: str, known: Iterable[str], *, fix: str | None = None) -> UnknownNameError:
        """The error for `name`, with the nearest of `known`; without a fix and a near name it lists some of them."""
        known = list(dict.fromkeys(known))
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        if fix is None and not near and known:
            more = f" and {len(known) - 8} more" if len(known) > 8 else ""
            fix = f"known are {', '.join(known[:8])}{more}"
        return cls(f"unknown {kind} {name!r}", did_you_mean=near, fix=fix)

    __str__ = CvbenchError.__str__  # KeyError's own would print a repr


class EvaluationSuspectError(UsageError):
    """An accuracy is near chance: most likely labels, class order or weights do not belong together."""

    code = "evaluation-suspect"


class DataUnavailableError(CvbenchError, FileNotFoundError):
    """A data set, weights or stored features are not where they were looked for."""

    exit_code = 3
    code = "data-unavailable"

    __str__ = CvbenchError.__str__


class IntegrityError(CvbenchError):
    """Bytes are not what was recorded."""

    exit_code = 4
    code = "integrity"


class FingerprintMismatchError(IntegrityError):
    """The store holds these features made in another way; nothing was written."""

    code = "fingerprint-mismatch"


class IncompleteError(CvbenchError):
    """The job ended, but not everything that was asked for is there."""

    exit_code = 5
    code = "incomplete"


class ResourceError(CvbenchError, OSError):
    """Disk, memory or device do not suffice."""

    exit_code = 6
    code = "resources"

    __str__ = CvbenchError.__str__


class TransientError(ResourceError):
    """An object service or a network file system failed; it may be well a while later, or elsewhere."""

    code = "transient"


class AccessError(ResourceError):
    """An object store refuses our credentials, or there are none."""

    exit_code = 8
    code = "access"


class ClusterError(CvbenchError):
    """Ray cannot be reached, refuses us, or lost its workers."""

    exit_code = 8
    code = "cluster"


class DecodeError(CvbenchError, ValueError):
    """One image cannot be read. `reason` is a short stable code, kept in the store."""

    code = "decode"

    def __init__(self, what: str, *, reason: str = "corrupt", where: str | None = None) -> None:
        super().__init__(what, where=where)
        self.reason = reason

    def as_dict(self) -> dict[str, object]:
        return {**super().as_dict(), "reason": self.reason}


def lacking(error: BaseException) -> ResourceError | None:
    """The error of ours for memory, threads or open files that the machine did not give; None for any other error."""
    number = error.errno if isinstance(error, OSError) and not isinstance(error, CvbenchError) else None
    text = str(error)  # of a process of ours, a traceback: its last line says what
    last = (text.splitlines() or [""])[-1]
    of_torch = isinstance(error, RuntimeError) and "DefaultCPUAllocator" in text
    if isinstance(error, MemoryError) or of_torch or number == errno.ENOMEM:
        return ResourceError(
            "the memory of this machine does not suffice",
            why=text.partition("DefaultCPUAllocator: ")[2].partition("\n")[0] or last or "an allocation was refused",
            fix="a smaller --batch-size in a new store, fewer --threads, or a machine that has more; "
            "then the same command again: it resumes",
        )
    if (isinstance(error, RuntimeError) and "can't start new thread" in text) or number == errno.EAGAIN:
        return ResourceError(
            "this machine starts no further thread or process",
            why=last,
            fix="fewer --threads, or a higher limit of processes (ulimit -u) and of memory (ulimit -v); "
            "then the same command again: it resumes",
        )
    if number in (errno.EMFILE, errno.ENFILE):
        return ResourceError(
            "this machine opens no further file",
            why=last,
            fix="a higher limit of open files (ulimit -n); then the same command again: it resumes",
        )
    return None


def raise_if_lacking(error: BaseException) -> None:
    """Raise what `lacking` is of an error, if that is anything: for whoever takes a library's errors for damage.

    Raises:
        ResourceError: The machine did not give memory, a thread or a file.
    """
    if (lack := lacking(error)) is not None:
        raise lack from error
