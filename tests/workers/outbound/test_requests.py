"""Requests for users reach public addresses only, whatever URL, name server or response contain."""

from __future__ import annotations

import gzip
import io
import ipaddress
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.workers.grading.judging import SCORE
from tests.workers.judge_server import Answer, JudgeServer
from workers.contract.spec import JudgeEndpoint
from workers.grading import Judges, open_grader, validate
from workers.outbound import (
    AddressRefused,
    AllowList,
    AnswerRefused,
    OutboundError,
    check_url,
    download,
)  # fmt: skip
from workers.outbound.addresses import is_public

LOOPBACK = AllowList.parse(["127.0.0.1"])
NOTHING = AllowList()
Handle = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def serve(handle: Handle) -> Iterator[int]:
    """A server on the loopback address; yields its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            handle(self)

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def send(handler: BaseHTTPRequestHandler, body: bytes, status: int = 200, **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(body)


def get(url: str, allow: AllowList = LOOPBACK, **options: Any) -> bytes:
    target = io.BytesIO()
    download(url, target, **({"max_bytes": 1000, "max_seconds": 3, "allow": allow} | options))
    return target.getvalue()


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254",
        "169.254.1.1", "100.64.0.1", "100.100.100.200", "168.63.129.16", "192.0.0.192", "224.0.0.1",
        "239.1.1.1", "240.0.0.1", "255.255.255.255", "198.18.0.1", "203.0.113.5", "::", "::1", "::127.0.0.1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::a00:1", "2002:7f00:1::",
        "2002:a9fe:a9fe::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "fc00::1", "fd00:ec2::254", "fe80::1",
        "fec0::1", "ff02::1", "2001:db8::1", "4000::1",
    ],
)  # fmt: skip
def test_an_internal_address_is_not_public(address: str) -> None:
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]
)
def test_a_public_address_is(address: str) -> None:
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/v1", "http://127.1/", "http://2130706433/", "http://0x7f.1/", "http://017700000001/",
        "http://[::1]/", "http://[::ffff:7f00:1]/", "http://localhost/", "http://LOCALHOST./",
        "http://a.localhost/", "http://169.254.169.254/latest/meta-data", "http://0/", "http://[fe80::1%25lo]/",
        "https://user:word@example.com/", "ftp://example.com/", "file:///etc/passwd", "gopher://x/", "//x/",
        "http:///x", "http://example.com:99999/", "http://[::1/",
    ],
)  # fmt: skip
def test_a_url_is_refused_before_any_name_is_resolved(url: str) -> None:
    with pytest.raises(AddressRefused):
        check_url(url, NOTHING)


def test_every_connection_is_checked_whatever_the_name_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name server that answers with an internal address, or with another one each time."""
    answers = iter(["127.0.0.1", "10.0.0.1", "169.254.169.254"])
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, port, *_, **__: [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))
    ])  # fmt: skip
    for _ in range(3):
        with pytest.raises(AddressRefused, match="GROOVE_OUTBOUND_ALLOW"):
            get("http://rebind.example/", NOTHING)


def test_the_address_that_was_checked_is_the_one_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second look-up of a name would lead elsewhere: there is none."""
    asked: list[str] = []

    def look_up(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        asked.append(host)
        assert len(asked) == 1 or host == "127.0.0.1", "the name was resolved a second time"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    with serve(lambda handler: send(handler, b"here")) as port:
        assert get(f"http://name.example:{port}/") == b"here"
    assert asked[0] == "name.example"


def test_what_the_operator_lists_is_reached() -> None:
    with serve(lambda handler: send(handler, b"here")) as port:
        for listed in ("127.0.0.1", "127.0.0.0/8", f"127.0.0.1:{port}", "localhost"):
            host = "localhost" if listed == "localhost" else "127.0.0.1"
            assert get(f"http://{host}:{port}/", AllowList.parse([listed])) == b"here"
        for other in ("127.0.0.2", f"127.0.0.1:{port + 1}", "localhost", "10.0.0.0/8"):
            with pytest.raises(AddressRefused):
                get(f"http://127.0.0.1:{port}/", AllowList.parse([other]))


def test_metadata_needs_an_entry_of_its_own() -> None:
    metadata = ipaddress.ip_address("169.254.169.254")
    for listed in ("169.254.0.0/16", "metadata.internal", "0.0.0.0/0"):
        assert not AllowList.parse([listed]).allows("metadata.internal", metadata, 80)
    assert AllowList.parse(["169.254.169.254"]).allows("x", metadata, 80)


@pytest.mark.parametrize("word", ["http://x", "a b", "x:0", "x:99999", "x:y", "10.0.0.0/99", "-"])
def test_an_entry_that_cannot_be_read_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match=r"neither|port"):
        AllowList.parse([word])


def test_no_redirect_is_followed_unless_asked_and_then_each_hop_is_checked() -> None:
    def move(handler: BaseHTTPRequestHandler) -> None:
        there = handler.path.lstrip("/") or "/end"
        if handler.path == "/end":
            return send(handler, b"end")
        return send(handler, b"moved", 302, location=there)

    with serve(move) as port:
        with pytest.raises(AnswerRefused, match="redirects"):
            get(f"http://127.0.0.1:{port}/")
        assert get(f"http://127.0.0.1:{port}/", redirects=1) == b"end"
        for there in ("http://10.0.0.1/", "http://169.254.169.254/", "file:///etc/passwd"):
            with pytest.raises(OutboundError):
                get(f"http://127.0.0.1:{port}/{there}", redirects=3)


def test_bytes_and_seconds_are_capped_whatever_the_server_announces() -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        send(handler, b"")
        for _ in range(100):
            handler.wfile.write(b"x")
            time.sleep(0.05)

    with (
        serve(lambda handler: send(handler, b"x" * 1001)) as port,
        pytest.raises(AnswerRefused, match="larger"),
    ):
        get(f"http://127.0.0.1:{port}/")
    announced = {"content_length": "9" * 18}
    with (
        serve(lambda handler: send(handler, b"x", **announced)) as port,
        pytest.raises(AnswerRefused, match="larger"),
    ):
        get(f"http://127.0.0.1:{port}/")
    started = time.monotonic()
    with serve(drip) as port, pytest.raises(OutboundError):
        get(f"http://127.0.0.1:{port}/", max_seconds=0.5)
    assert time.monotonic() - started < 2


def test_a_compressed_answer_is_refused_and_not_inflated() -> None:
    bomb = gzip.compress(bytes(10**6))
    with (
        serve(lambda handler: send(handler, bomb, content_encoding="gzip")) as port,
        pytest.raises(AnswerRefused, match="compressed"),
    ):
        get(f"http://127.0.0.1:{port}/", max_bytes=10**9)


def test_an_error_quotes_nothing_that_the_server_sent() -> None:
    def banner(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"SSH-2.0-SECRET-BANNER\r\n\r\n")

    for handle in (banner, lambda handler: send(handler, b"SECRET-BANNER", 500)):
        with serve(handle) as port, pytest.raises(OutboundError) as caught:
            get(f"http://127.0.0.1:{port}/")
        assert "SECRET" not in str(caught.value)


def test_proxy_variables_do_not_count_but_the_operators_own_does(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    with serve(lambda handler: send(handler, handler.path.encode())) as port:
        assert get(f"http://127.0.0.1:{port}/direct") == b"/direct"
        monkeypatch.setenv("GROOVE_OUTBOUND_PROXY", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("GROOVE_OUTBOUND_ALLOW", "")
        assert get("http://1.1.1.1/x", None) == b"http://1.1.1.1/x"  # type: ignore[arg-type]
        with pytest.raises(AddressRefused):
            get("http://10.0.0.1/x", None)  # type: ignore[arg-type]


# --- judges ----------------------------------------------------------------------------------------


def grade_once(endpoint: JudgeEndpoint) -> str:
    with open_grader(validate(SCORE), judges=Judges({"m": endpoint})) as grade:
        (result,) = grade([("a", {"ref": "r"})])
    assert (result.reward, result.error_class) == (None, "model_grader_server_error")
    return result.error_detail or ""


def test_a_judge_at_an_internal_address_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROOVE_OUTBOUND_ALLOW", "")
    with JudgeServer() as server:
        assert "GROOVE_OUTBOUND_ALLOW" in grade_once(JudgeEndpoint(base_url=server.url, model="m"))
        assert server.requests == []
        with open_grader(
            validate(SCORE),
            judges=Judges({"m": JudgeEndpoint(base_url=server.url, model="m", on_this_worker=True)}),
        ) as grade:
            assert grade([("a", {"ref": "r"})])[0].reward == 1.0
        elsewhere = server.url.replace("127.0.0.1", "127.0.0.2")
    for url in (elsewhere, "http://169.254.169.254/v1"):
        assert grade_once(JudgeEndpoint(base_url=url, model="m"))


def test_a_judge_that_answers_too_much_too_slowly_or_elsewhere_is_cut_off() -> None:
    with JudgeServer() as server:
        endpoint = JudgeEndpoint(base_url=server.url, model="m", timeout_seconds=5)
        server.behave = lambda body, number: Answer(body='{"pad": "' + "x" * 5 * 2**20 + '"}')
        assert "larger" in grade_once(endpoint)
        server.behave = lambda body, number: Answer(status=302, body="SECRET")
        said = grade_once(endpoint)
        assert "302" in said
        assert "SECRET" not in said


def test_no_body_of_a_judge_is_shown() -> None:
    with JudgeServer() as server:
        endpoint = JudgeEndpoint(base_url=server.url, model="m")
        for answer in (
            Answer(status=403, body="SECRET"),
            Answer(body='{"SECRET": 1}'),
            Answer(body="SECRET"),
        ):
            server.behave = lambda body, number, answer=answer: answer  # type: ignore[misc]
            assert "SECRET" not in grade_once(endpoint)
