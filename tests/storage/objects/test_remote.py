"""An object service that misbehaves: what is tried again, what is said, no credential in any message (F18)."""

from __future__ import annotations

import os
import socket
import traceback
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from cvbench.errors import AccessError, CvbenchError, ResourceError, TransientError, UsageError
from cvbench.storage.objects import remote
from cvbench.storage.objects.base import Objects
from cvbench.storage.objects.bucket import Bucket
from cvbench.storage.objects.open import open_objects
from tests.storage.objects.fault_proxy import Fault, FaultProxy
from tests.storage.s3_service import CANARY, CREDENTIALS, proxied_service

BODY = bytes(range(256)) * 40
PAUSES = (*remote._PAUSES, *remote._OUTAGE)  # before they are shortened


@pytest.fixture(scope="module")
def proxy() -> Iterator[FaultProxy]:
    with proxied_service("objects") as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cvbench.storage.objects.remote._PAUSES", (0.01, 0.02, 0.05, 0.1))
    monkeypatch.setattr("cvbench.storage.objects.remote._OUTAGE", (0.01,) * 2)
    monkeypatch.setattr("cvbench.storage.objects.remote._QUICK", 1)


@pytest.fixture
def objects(proxy: FaultProxy, request: pytest.FixtureRequest) -> Iterator[Objects]:
    proxy.well()
    place = open_objects(f"s3://objects/{abs(hash(request.node.name))}")
    for name in ("a/1", "a/2", "b"):
        assert place.create(name, BODY)
    proxy.count.clear()
    yield place
    proxy.well()


CALLS: dict[str, tuple[Callable[[Objects], object], object]] = {
    "get": (lambda place: place.get("b"), BODY),
    "take": (lambda place: place.take("b", len(BODY)), BODY),
    "part": (lambda place: place.part("b", 5, 9000), BODY[5:9000]),
    "size": (lambda place: place.size("b"), len(BODY)),
    "list": (lambda place: [*place.list("a/")], ["a/1", "a/2"]),
    "create": (lambda place: place.create("new", b"x"), True),
    "delete": (lambda place: place.delete("b"), None),
}


@pytest.mark.parametrize("fault", ["500", "503", "429", "cut", "reset", "slow"])
@pytest.mark.parametrize("call", CALLS)
def test_what_passes_is_tried_again(proxy: FaultProxy, objects: Objects, call: str, fault: Fault) -> None:
    run, expected = CALLS[call]
    proxy.script(fault, times=1)
    # A cut answer to a put means that it may be there: then the second attempt finds it.
    assert run(objects) in ((expected, False) if (call, fault) == ("create", "cut") else (expected,))
    assert proxy.count[fault] == 1


def test_a_write_whose_answer_was_lost_is_found_and_not_made_twice(proxy: FaultProxy, objects: Objects) -> None:
    proxy.script("lost", times=1, method="PUT")
    assert objects.create("n", b"mine") is False  # it is there; whoever asks compares
    assert objects.get("n") == b"mine"
    assert not objects.create("n", b"other")
    assert objects.get("n") == b"mine"


def test_a_lost_delete_is_done(proxy: FaultProxy, objects: Objects) -> None:
    proxy.script("lost", times=1, method="POST")
    objects.delete("b")
    assert objects.get("b") is None


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("fault", "said"), [("expired", "have expired"), ("denied", "refuses our credentials")])
def test_refused_credentials_are_named_and_not_shown(
    proxy: FaultProxy, objects: Objects, call: str, fault: Fault, said: str
) -> None:
    proxy.script(fault)
    with pytest.raises(AccessError, match=said) as caught:
        CALLS[call][0](objects)
    # Never tried again; but a HEAD, whose answer has no words, is asked about by a GET.
    assert proxy.count[fault] == (2 if call == "size" and fault == "expired" else 1)
    assert caught.value.exit_code == 8
    assert caught.value.where
    assert caught.value.fix
    assert CANARY not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("fault", ["500", "503", "429"])
def test_an_outage_is_ridden_out(
    proxy: FaultProxy, objects: Objects, monkeypatch: pytest.MonkeyPatch, call: str, fault: Fault
) -> None:
    monkeypatch.setattr(remote, "_QUICK", 0)
    other = open_objects(objects.url)
    run, expected = CALLS[call]
    proxy.script(fault, times=6)
    assert run(other) == expected
    assert proxy.count[fault] == 6
    proxy.script(fault)
    with pytest.raises(TransientError, match="after retries"):
        run(other)
    assert proxy.count[fault] == 6 + 1 + len(remote._PAUSES) + len(remote._OUTAGE)


def test_an_outage_may_last_about_as_long_as_is_said() -> None:
    assert remote.RETRY_SECONDS - 15 < sum(PAUSES) < remote.RETRY_SECONDS
    assert "about 120 s" in (Path(__file__).parents[3] / "docs" / "reliability.md").read_text()


def test_an_outage_is_given_up_when_its_time_is_over(
    proxy: FaultProxy, objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "_QUICK", 0)
    monkeypatch.setattr(remote, "RETRY_SECONDS", 0.0)
    proxy.script("503")
    with pytest.raises(TransientError):
        open_objects(objects.url).get("b")
    assert proxy.count["503"] == 1


def test_a_connection_is_tried_for_longer_once_the_service_has_answered(
    proxy: FaultProxy, objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that is no service's is said soon; a service that starts anew is waited for, whoever it answered."""
    monkeypatch.setattr(remote, "_SERVICES", remote._Services())
    asked = []
    for _ in range(2):
        proxy.script("reset")
        proxy.count.clear()
        with pytest.raises(TransientError):
            open_objects(objects.url).get("b")
        asked.append(proxy.count["reset"])
        proxy.well()
        assert objects.get("b") is not None
    assert asked[0] == 2
    assert asked[1] > 7


def test_a_service_that_stays_broken_is_asked_a_few_times(proxy: FaultProxy, objects: Objects) -> None:
    for fault in ("cut", "reset"):
        proxy.script(fault)
        with pytest.raises(ResourceError, match="after retries") as caught:
            [*objects.list("a/")]
        assert "same command again" in (caught.value.fix or "")
        assert proxy.count[fault] <= 15


def test_ranges_and_sizes_of_a_bucket(proxy: FaultProxy, objects: Objects) -> None:
    bucket, prefix = Bucket("s3://objects"), objects.url.removeprefix("s3://objects/")
    for fault in ("cut", "reset", "503"):
        proxy.script(fault, times=1)
        assert bucket.read(f"{prefix}/b", 3, 5000) == (BODY[3:5003], len(BODY))
        proxy.script(fault, times=2)
        assert bucket.sizes(f"{prefix}/a/") == {f"{prefix}/a/1": len(BODY), f"{prefix}/a/2": len(BODY)}


# Credentials


@pytest.fixture
def nobody(proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Nothing says who we are; the metadata address is a closed port, which nobody else can open meanwhile."""
    for name in CREDENTIALS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", f"http://127.0.0.1:{free.getsockname()[1]}")
        yield


def test_missing_credentials_are_named_at_once(
    nobody: None, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before obstore is asked, which would ask the metadata address for minutes."""
    proxy.requests.clear()
    monkeypatch.setattr("obstore.store.from_url", lambda *given, **named: pytest.fail("obstore was asked"))
    with pytest.raises(AccessError, match="no AWS credentials found") as caught:
        open_objects("s3://objects/x").get("zarr.json")
    assert "AWS_ACCESS_KEY_ID" in (caught.value.fix or "")
    assert "AWS_PROFILE" in (caught.value.fix or "")
    assert caught.value.exit_code == 8
    assert not proxy.requests


class _Refusing(BaseHTTPRequestHandler):
    """A metadata address that gives no credentials, as that of a container may be."""

    code = 403

    def do_PUT(self) -> None:
        self.send_response(self.code)
        self.end_headers()

    do_GET = do_PUT

    def log_message(self, *words: object) -> None:
        """Say nothing."""


@pytest.mark.parametrize("code", [401, 403, 404])
def test_a_metadata_address_that_refuses_is_no_refusal_of_the_store(
    code: int, nobody: None, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Refusing, "code", code)
    proxy.requests.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Refusing) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
        try:
            for call in ("get", "size", "list", "create"):
                with pytest.raises(AccessError, match="no AWS credentials found") as caught:
                    CALLS[call][0](open_objects("s3://objects/x"))
                assert "the metadata address of this machine gives none" in (caught.value.why or "")
                assert "AWS_ACCESS_KEY_ID" in (caught.value.fix or "")
        finally:
            server.shutdown()
    assert not proxy.requests


def test_half_of_the_credentials(nobody: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", CREDENTIALS["AWS_ACCESS_KEY_ID"])
    with pytest.raises(AccessError, match="no AWS credentials") as caught:
        open_objects("s3://objects/x").get("zarr.json")
    assert "SecretAccessKey" in (caught.value.why or "")


def test_a_machine_that_does_not_answer_costs_a_second(monkeypatch: pytest.MonkeyPatch, nobody: None) -> None:
    asked = []

    def refused(address: tuple[str, int], timeout: float) -> socket.socket:
        asked.append((address, timeout))
        raise TimeoutError

    monkeypatch.delenv("AWS_METADATA_ENDPOINT")
    monkeypatch.setattr(socket, "create_connection", refused)
    with pytest.raises(AccessError):
        open_objects("s3://objects/x").size("a")
    assert asked == [(("169.254.169.254", 80), 1.0)]


def test_a_profile_is_read(nobody: None, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    keys = "aws_access_key_id = AKprofile\naws_secret_access_key = s\naws_session_token = t\n"
    (tmp_path / "credentials").write_text(f"[lab]\n{keys}[default]\n{keys}")
    assert open_objects("s3://objects/x").get("none") is None  # the default profile
    monkeypatch.setenv("AWS_PROFILE", "lab")
    assert open_objects("s3://objects/x").get("none") is None
    monkeypatch.setenv("AWS_PROFILE", "labb")
    with pytest.raises(UsageError, match="profile 'labb' has no keys") as caught:
        open_objects("s3://objects/x").get("none")
    assert "export-credentials --profile labb" in (caught.value.fix or "")


@pytest.mark.parametrize(("url", "name"), [("gs://b/x", "Google Cloud"), ("az://b/x", "Azure")])
def test_other_clouds(nobody: None, monkeypatch: pytest.MonkeyPatch, url: str, name: str, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for variable in list(os.environ):
        if variable.startswith(("GOOGLE_", "AZURE_")):
            monkeypatch.delenv(variable)
    with pytest.raises(AccessError, match=f"no {name} credentials found"):
        open_objects(url).get("a")


def test_secrets_of_any_cloud_are_replaced_in_what_a_service_says(monkeypatch: pytest.MonkeyPatch) -> None:
    from cvbench.storage.objects.credentials import said

    monkeypatch.setenv("AZURE_STORAGE_SAS_TOKEN", "sig=abcdef")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "verysecret")
    text = said(RuntimeError("GET https://x/y?sig=abcdef failed for verysecret\nDebug: verysecret"))
    assert text == "GET https://x/y?*** failed for ***"
    assert len(said(RuntimeError("x" * 10_000))) < 500


def test_every_error_is_ours(proxy: FaultProxy, objects: Objects) -> None:
    for fault in ("expired", "denied", "reset"):
        proxy.script(fault)
        with pytest.raises(CvbenchError):
            objects.get("b")
