"""Credentials of object stores: found in the environment before anything is sent, and kept out of every message.

obstore reads keys from the environment. Where there are none it asks the metadata address of a cloud's machine, again
and again where that does not answer; so that address is tried once here, for a second, and what is missing is named.
A profile of `~/.aws/credentials` is read here, since obstore does not know profiles.
"""

from __future__ import annotations

import configparser
import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cvbench.errors import AccessError, UsageError

_PROBE_SECONDS = 1.0
_SECRET = re.compile(r"(?i)KEY|SECRET|TOKEN|PASSWORD|SAS|CREDENTIAL|ACCOUNT_PATH")
_PREFIXES = ("AWS_", "GOOGLE_", "AZURE_")
_ANSWER = re.compile(r"<Code>(?P<code>[^<]*)</Code>(?:\s*<Message>(?P<message>[^<]*)</Message>)?")
_LONGEST = 400  # characters of a service's own words in a message


@dataclass(frozen=True)
class _Kind:
    """A cloud: variables any of which names credentials, files that do, its metadata address, and what to set."""

    name: str
    variables: tuple[str, ...]
    files: tuple[str, ...]
    metadata: str
    fix: str


_S3 = _Kind(
    "AWS",
    (
        *("AWS_ACCESS_KEY_ID", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_SKIP_SIGNATURE"),
        *("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"),
    ),
    (),
    "http://169.254.169.254",
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; AWS_SKIP_SIGNATURE=true for a public bucket",
)
_GS = _Kind(
    "Google Cloud",
    (
        *("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_SERVICE_ACCOUNT", "GOOGLE_SERVICE_ACCOUNT_PATH"),
        *("GOOGLE_SERVICE_ACCOUNT_KEY", "GOOGLE_SKIP_SIGNATURE"),
    ),
    ("~/.config/gcloud/application_default_credentials.json",),
    "http://metadata.google.internal",
    "set GOOGLE_APPLICATION_CREDENTIALS, or run `gcloud auth application-default login`",
)
_AZURE = _Kind(
    "Azure",
    ("AZURE_", "IDENTITY_ENDPOINT", "MSI_ENDPOINT"),  # obstore knows two dozen names
    (),
    "http://169.254.169.254",
    "set AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or AZURE_STORAGE_SAS_TOKEN",
)


def kind_of(url: str) -> _Kind:
    """The cloud that a URL is of."""
    scheme = url.partition("://")[0]
    return {"s3": _S3, "s3a": _S3, "gs": _GS}.get(scheme, _AZURE)


def settings(url: str) -> dict[str, str]:
    """Find what obstore does not find by itself, as its configuration: the keys of a profile.

    Raises:
        AccessError: There are no credentials at all.
        UsageError: `AWS_PROFILE` names none, or one without keys.
    """
    kind = kind_of(url)
    if any(name.startswith(known) for name in _set() for known in kind.variables):
        return {}
    if any(Path(name).expanduser().is_file() for name in kind.files):
        return {}
    profile = _profile() if kind is _S3 else {}
    if not profile and not _answers(_metadata(kind)):
        raise missing(url)
    return profile


def missing(url: str, why: str | None = None) -> AccessError:
    """The error where nothing says who we are, or not all of it."""
    kind = kind_of(url)
    return AccessError(
        f"no {kind.name} credentials found",
        where=url,
        why=why or "none in the environment or a profile, and no machine of the cloud that would give some",
        fix=kind.fix,
    )


def of_metadata(url: str, text: str) -> bool:
    """Whether an error is of the metadata address, which is asked where nothing else says who we are.

    Args:
        url: Of the store.
        text: Of the error.
    """
    kind = kind_of(url)
    return any(urlsplit(place).netloc in text for place in (kind.metadata, _metadata(kind)))


def _metadata(kind: _Kind) -> str:
    return os.environ.get("AWS_METADATA_ENDPOINT") or kind.metadata


def _set() -> list[str]:
    return [name for name, value in os.environ.items() if value]


def _profile() -> dict[str, str]:
    """Keys, token and region of `AWS_PROFILE`, or of the profile "default" if there is one."""
    asked = os.environ.get("AWS_PROFILE")
    name = asked or "default"
    keys = _section(os.environ.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"), name)
    configured = name if name == "default" else f"profile {name}"
    more = _section(os.environ.get("AWS_CONFIG_FILE", "~/.aws/config"), configured)
    both = {**more, **keys}
    if "aws_access_key_id" not in both:
        if asked:
            raise UsageError(
                f"the AWS profile {asked!r} has no keys of its own",
                where="AWS_PROFILE",
                why="profiles with aws_access_key_id in ~/.aws/credentials are read; single sign-on is not",
                fix=f'eval "$(aws configure export-credentials --profile {asked} --format env)"',
            )
        return {}
    found: dict[str, str] = {
        name: both[name] for name in ("aws_access_key_id", "aws_secret_access_key") if name in both
    }
    if "aws_session_token" in both:
        found["aws_session_token"] = both["aws_session_token"]
    if "region" in both and not {"AWS_REGION", "AWS_DEFAULT_REGION"} & {*_set()}:
        found["aws_region"] = both["region"]
    return found


def _section(path: str, name: str) -> Mapping[str, str]:
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read_string(Path(path).expanduser().read_text())
    except (OSError, UnicodeDecodeError, configparser.Error):
        return {}
    return dict(parser[name]) if parser.has_section(name) else {}


def _answers(metadata: str) -> bool:
    """Whether anything listens at a metadata address."""
    if os.environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        return False
    place = urlsplit(metadata)
    try:
        with socket.create_connection((place.hostname or "", place.port or 80), timeout=_PROBE_SECONDS):
            return True
    except (OSError, ValueError):
        return False


def said(error: Exception) -> str:
    """Say what a service said, its code and message or the first line, without the value of any secret of ours."""
    text = str(error).strip()
    answer = _ANSWER.search(text)
    text = ": ".join(filter(None, answer.groups())) if answer else (text.splitlines() or [type(error).__name__])[0]
    for name in _set():
        if name.startswith(_PREFIXES) and _SECRET.search(name) and len(os.environ[name]) > 3:
            text = text.replace(os.environ[name], "***")
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."
