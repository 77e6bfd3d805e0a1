"""The errors are a surface: names, exit codes, built-in kin, one text form, and a safe way across processes."""

from __future__ import annotations

import errno
import os
import pickle

import pytest

from cvbench import errors
from cvbench.errors import CvbenchError, DecodeError, ResourceError, UnknownNameError, lacking

EXIT_CODES = {
    "CvbenchError": 1,
    "UsageError": 2,
    "UnknownNameError": 2,
    "EvaluationSuspectError": 2,
    "DataUnavailableError": 3,
    "IntegrityError": 4,
    "FingerprintMismatchError": 4,
    "IncompleteError": 5,
    "ResourceError": 6,
    "TransientError": 6,
    "AccessError": 8,
    "ClusterError": 8,
    "DecodeError": 1,
}
KIN = {
    "UsageError": ValueError,
    "UnknownNameError": KeyError,
    "DataUnavailableError": FileNotFoundError,
    "ResourceError": OSError,
    "TransientError": OSError,
    "AccessError": OSError,
    "DecodeError": ValueError,
}


def family(base: type[CvbenchError] = CvbenchError) -> list[type[CvbenchError]]:
    """The base and everything below it that the module itself defines."""
    below = [cls for child in base.__subclasses__() if child.__module__ == errors.__name__ for cls in family(child)]
    return [base, *below]


ALL = family()


def full(cls: type[CvbenchError]) -> CvbenchError:
    """An instance with every field set that its constructor takes."""
    if cls is DecodeError:
        return DecodeError("cannot read", reason="truncated", where="a/b.jpg")
    return cls("it broke", where="store/x", why="disk", fix="run again", did_you_mean=["digits", "digit"])


def test_every_error_has_its_exit_code() -> None:
    assert {cls.__name__: cls.exit_code for cls in ALL} == EXIT_CODES


def test_codes_are_unique() -> None:
    assert len({cls.code for cls in ALL}) == len(ALL)


@pytest.mark.parametrize("name", KIN)
def test_an_ordinary_except_catches_it(name: str) -> None:
    assert issubclass(getattr(errors, name), KIN[name])


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickling_keeps_type_and_fields(cls: type[CvbenchError], protocol: int) -> None:
    error = full(cls)
    again = pickle.loads(pickle.dumps(error, protocol))  # noqa: S301 - our own bytes
    assert type(again) is cls
    assert again.as_dict() == error.as_dict()
    assert str(again) == str(error)
    assert again.args == error.args


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
def test_text_starts_with_what_and_names_every_field(cls: type[CvbenchError]) -> None:
    error = full(cls)
    first, *rest = str(error).splitlines()
    assert first == error.what
    if cls is DecodeError:
        assert rest == ["where: a/b.jpg"]
    else:
        assert rest == ["did you mean: digits, digit?", "where: store/x", "why: disk", "fix: run again"]


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
def test_text_of_a_bare_error_is_one_line(cls: type[CvbenchError]) -> None:
    assert str(cls("only this")) == "only this"


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
def test_dictionary_has_the_shared_fields(cls: type[CvbenchError]) -> None:
    fields = full(cls).as_dict()
    assert {"code", "what", "where", "why", "fix", "did_you_mean"} <= fields.keys()
    assert fields["code"] == cls.code


def test_decode_error_keeps_its_reason() -> None:
    again = pickle.loads(pickle.dumps(full(DecodeError)))  # noqa: S301 - our own bytes
    assert again.reason == "truncated"


def test_unknown_name_proposes_neighbours_nearest_first() -> None:
    error = UnknownNameError.among("dataset", "digts", ["cub200", "digits", "cifar10"], fix="cvbench datasets ls")
    assert error.what == "unknown dataset 'digts'"
    assert error.did_you_mean == ("digits",)
    assert error.fix == "cvbench datasets ls"


def test_unknown_name_without_a_neighbour_proposes_none() -> None:
    assert UnknownNameError.among("view", "qqq", ["pooled", "maps"]).did_you_mean == ()


def test_every_error_is_in_the_tree_of_the_module_docstring() -> None:
    assert errors.__doc__ is not None
    assert [cls.__name__ for cls in ALL if cls.__name__ not in errors.__doc__] == []


OF_TORCH = "[enforce fail at alloc_cpu.cpp:119] . DefaultCPUAllocator: can't allocate memory: you tried 9 bytes.\ntrace"


@pytest.mark.parametrize(
    ("error", "what", "why"),
    [
        (MemoryError(), "memory of this machine", "an allocation was refused"),
        (MemoryError("Traceback\nUnable to allocate 9 GiB"), "memory of this machine", "Unable to allocate 9 GiB"),
        (RuntimeError(OF_TORCH), "memory of this machine", "can't allocate memory: you tried 9 bytes."),
        (OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)), "memory of this machine", "Cannot allocate memory"),
        (RuntimeError("can't start new thread"), "no further thread", "can't start new thread"),
        (OSError(errno.EAGAIN, os.strerror(errno.EAGAIN)), "no further thread", "temporarily unavailable"),
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE)), "no further file", "Too many open files"),
    ],
)
def test_what_a_machine_does_not_give_is_known(error: Exception, what: str, why: str) -> None:
    found = lacking(error)
    assert isinstance(found, ResourceError)
    assert what in found.what
    assert why in (found.why or "")
    assert "it resumes" in (found.fix or "")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("a bug"),
        OSError(errno.EIO, "EIO"),
        ValueError("can't start new thread"),
        CvbenchError("x"),
        OSError(),
    ],
)
def test_other_errors_are_not_of_the_machine(error: Exception) -> None:
    assert lacking(error) is None
