#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Talks to an nginx with the configuration beside this file: HOST, PORT and PORT_443."""

from __future__ import annotations

import concurrent.futures
import gzip
import http.client
import os
import re
import socket
import ssl
import sys
from collections.abc import Callable
from pathlib import Path

HOST = os.environ["HOST"]
PORT = int(os.environ["PORT"])
TLS_PORT = int(os.environ["PORT_443"])
HERE = Path(__file__).parent
TIMEOUT = 60
PAGE = (HERE / "srv" / "index.html").read_bytes()
TEXT = Path(__file__).read_bytes()

Test = Callable[[], None]
TESTS: list[Test] = []


def test(function: Test) -> Test:
    """Register a test."""
    TESTS.append(function)
    return function


def plain() -> http.client.HTTPConnection:
    return http.client.HTTPConnection(HOST, PORT, timeout=TIMEOUT)


def secure(context: ssl.SSLContext | None = None) -> http.client.HTTPSConnection:
    trusted = context or ssl.create_default_context(cafile=str(HERE / "cert.pem"))
    return http.client.HTTPSConnection(HOST, TLS_PORT, timeout=TIMEOUT, context=trusted)


def get(
    link: http.client.HTTPConnection,
    path: str,
    method: str = "GET",
    body: bytes | None = None,
    **headers: str,
) -> tuple[int, http.client.HTTPMessage, bytes]:
    link.request(method, path, body, {key.replace("_", "-"): text for key, text in headers.items()})
    answer = link.getresponse()
    return answer.status, answer.headers, answer.read()


def expect(found: object, wanted: object) -> None:
    if found != wanted:
        raise AssertionError(f"{found!r} instead of {wanted!r}")


@test
def a_file() -> None:
    status, headers, body = get(plain(), "/index.html")
    expect((status, headers["Content-Type"], body), (200, "text/html", PAGE))
    expect(get(plain(), "/")[2], PAGE)


@test
def no_such_file() -> None:
    expect(get(plain(), "/nothing")[0], 404)


@test
def the_head_alone() -> None:
    status, headers, body = get(plain(), "/index.html", "HEAD")
    expect((status, headers["Content-Length"], body), (200, str(len(PAGE)), b""))


@test
def no_such_method() -> None:
    expect(get(plain(), "/index.html", "DELETE")[0], 405)


@test
def a_range() -> None:
    status, headers, body = get(plain(), "/index.html", Range="bytes=5-9")
    expect((status, body), (206, PAGE[5:10]))
    expect(headers["Content-Range"], f"bytes 5-9/{len(PAGE)}")


@test
def not_modified() -> None:
    link = plain()
    tag = get(link, "/index.html")[1]["ETag"]
    expect(get(link, "/index.html", If_None_Match=tag)[0], 304)


@test
def keep_alive() -> None:
    link = plain()
    get(link, "/hello")
    assert link.sock is not None
    end = link.sock.getsockname()
    for _ in range(200):
        expect(get(link, "/index.html")[2], PAGE)
    expect(link.sock.getsockname(), end)


@test
def requests_in_a_row() -> None:
    with socket.create_connection((HOST, PORT), TIMEOUT) as link:
        link.sendall(b"GET /hello HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
        link.sendall(b"GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = b"".join(iter(lambda: link.recv(65536), b""))
    expect(answer.count(b"HTTP/1.1 200 OK"), 21)


@test
def nonsense() -> None:
    with socket.create_connection((HOST, PORT), TIMEOUT) as link:
        link.sendall(b"what is this\r\n\r\n")
        expect(link.recv(65536).split(b"\r\n")[0], b"HTTP/1.1 400 Bad Request")


@test
def compression() -> None:
    link = plain()
    status, headers, body = get(link, "/text.txt", Accept_Encoding="gzip")
    expect((status, headers["Content-Encoding"]), (200, "gzip"))
    expect(gzip.decompress(body), TEXT)
    expect(get(link, "/text.txt")[2], TEXT)


@test
def a_large_file() -> None:
    """By sendfile() and by TLS: nginx itself."""
    one = get(plain(), "/program")[2]
    expect(one[:4], b"\x7fELF")
    assert len(one) > 1 << 20
    assert get(secure(), "/program")[2] == one


@test
def both_workers() -> None:
    with concurrent.futures.ThreadPoolExecutor(30) as pool:
        for _ in range(40):
            answers = pool.map(lambda _: get(plain(), "/hello")[2], range(30))
            found = {re.fullmatch(rb"hello from (\d+)\n", answer)[1] for answer in answers}  # type: ignore[index]
            if len(found) == 2:
                return
    raise AssertionError(f"the same worker answered always: {found}")


@test
def a_proxy() -> None:
    expect(get(plain(), "/proxy/index.html")[2], PAGE)
    expect(get(plain(), "/proxy/seen", X_Word="through")[2], b"through")
    expect(get(plain(), "/proxy/text.txt")[2], TEXT)


@test
def a_body_through_two_proxies() -> None:
    for size in (0, 100, 5_000_000):
        status, _, answer = get(plain(), "/proxy/body", "POST", bytes(size))
        expect((status, answer), (200, f"POST {size}".encode()))


@test
def nobody_behind_the_proxy() -> None:
    expect(get(plain(), "/refused")[0], 502)


@test
def too_large_a_body() -> None:
    with socket.create_connection((HOST, PORT), TIMEOUT) as link:
        link.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n")
        expect(link.recv(65536).split(b"\r\n")[0], b"HTTP/1.1 413 Request Entity Too Large")


@test
def tls() -> None:
    link = secure()
    expect(get(link, "/index.html")[2], PAGE)
    assert isinstance(link.sock, ssl.SSLSocket)
    expect(link.sock.version(), "TLSv1.3")
    for _ in range(20):
        expect(get(link, "/text.txt")[2], TEXT)


@test
def tls_1_2() -> None:
    context = ssl.create_default_context(cafile=str(HERE / "cert.pem"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    link = secure(context)
    expect(get(link, "/index.html")[2], PAGE)
    assert isinstance(link.sock, ssl.SSLSocket)
    expect(link.sock.version(), "TLSv1.2")


@test
def http_2_is_offered() -> None:
    context = ssl.create_default_context(cafile=str(HERE / "cert.pem"))
    context.set_alpn_protocols(["h2", "http/1.1"])
    with (
        socket.create_connection((HOST, TLS_PORT), TIMEOUT) as link,
        context.wrap_socket(link, server_hostname="localhost") as inner,
    ):
        expect(inner.selected_alpn_protocol(), "h2")
        # RFC 9113, 3.4: both sides begin with SETTINGS (type 4), ours behind the preface.
        inner.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
        expect(inner.recv(9)[3], 4)


@test
def plain_words_on_the_tls_port() -> None:
    link = http.client.HTTPConnection(HOST, TLS_PORT, timeout=TIMEOUT)
    expect(get(link, "/")[0], 400)


@test
def many_at_once() -> None:
    def one(number: int) -> None:
        link = secure() if number % 4 == 0 else plain()
        for _ in range(5):
            expect(get(link, "/index.html")[2], PAGE)

    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        list(pool.map(one, range(64)))


@test
def status_page() -> None:
    body = get(plain(), "/status")[2]
    found = re.search(rb"\n (\d+) (\d+) (\d+) \n", body)
    assert found
    accepted, handled, _ = map(int, found.groups())
    expect(accepted, handled)


def main() -> int:
    """Run the tests, or those that are named."""
    wanted = sys.argv[1:]
    bad = 0
    for each in TESTS:
        name = each.__name__
        if wanted and name not in wanted:
            continue
        try:
            each()
        except (AssertionError, OSError, http.client.HTTPException, TypeError) as error:
            bad += 1
            print(f"not ok {name}", flush=True)
            print(f"  {error!r}", flush=True)
        else:
            print(f"ok {name}", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
