"""Who gets what from the page's server: asked over real sockets, as a browser, another site, another user would."""

from __future__ import annotations

import json
import socket
import time

import pytest
from served import Served
from waiting import PATIENCE

from reverie.device_runtime.changes import installation
from reverie.device_runtime.errors import HomeError

pytest.importorskip("starlette")

from reverie.tools.page.app import FILES
from reverie.tools.page.guard import loopback

REACHED_BY_OTHERS = ("0.0.0.0", "::", "192.168.1.7", "example.org", "", "2130706433", "127.0.0.1.example")  # noqa: S104
PATHS = (*FILES, "/state", "/frame.jpg", "/asked.jpg", "/result", "/past", "/generated.png")
CHANGES = (
    "/keep",
    "/hold",
    "/release",
    "/name",
    "/answer",
    "/region",
    "/update",
    "/stop",
    "/accept",
    "/roll-back",
    "/purge",
)


@pytest.fixture(scope="module")
def served(tmp_path_factory, bundle, cat_clip):
    home = tmp_path_factory.mktemp("served") / "home"
    installation.install(bundle, home)
    server = Served("--home", home, "--source", cat_clip, "--loop")
    while not server.state()["seen"]:
        time.sleep(0.05)
    yield server
    code, _, error = server.end()
    assert (code, error) == (0, "for a browser of this machine; Ctrl-C ends it\n")


def test_the_address_lets_in_once_and_the_token_is_not_in_it_any_more(served):
    status, headers, _ = served.ask("GET", f"/?token={served.token}", token=False)
    assert (status, headers["location"]) == (303, f"{served.below}/")
    assert f"Path={served.below}/;" in headers["set-cookie"]  # and not that of all other servers of this machine
    cookie = headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert served.had("GET", "/")[0] == 200


@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_had_without_the_token_or_with_another(served, path):
    for cookie in (None, f"reverie-{served.port}=wrong", f"reverie-{served.port}=", "nonsense;;=\x01"):
        status, _, content = served.had("GET", path, token=False, Cookie=cookie)
        assert status == 403
        assert content.startswith(b"Reverie: open the address")
    assert served.had("GET", f"{path}?token={served.token}", token=False)[0] == 403
    for token in ("wrong", "", served.token[:-1]):
        assert served.ask("GET", f"{path}?token={token}", token=False)[0] == 403


@pytest.mark.parametrize("path", [*PATHS, *CHANGES])
def test_nothing_is_had_where_another_server_of_this_machine_could_be_told_the_token(served, path):
    method = "POST" if path in CHANGES else "GET"
    assert served.ask(method, path, {"label": "cat"} if path in CHANGES else None)[0] == 403
    assert served.ask(method, "/else" + path, {"label": "cat"} if path in CHANGES else None)[0] == 403


@pytest.mark.parametrize("path", PATHS)
def test_another_host_name_is_not_answered_even_with_the_token(served, path):
    for host in ("evil.example", f"evil.example:{served.port}", "127.0.0.1", f"192.168.1.7:{served.port}", ""):
        assert served.had("GET", path, Host=host)[0] == 403
    assert served.had("GET", path, Sec_Fetch_Site="cross-site")[0] == 403
    for host in ("localhost", "127.0.0.1", "[::1]"):
        assert served.had("GET", "/state", Host=f"{host}:{served.port}")[0] == 200


@pytest.mark.parametrize("path", CHANGES)
def test_another_site_changes_nothing(served, path):
    before = served.state()["counts"]
    body = {"label": "cat"}
    for headers in (
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": None},
        {"Origin": f"https://127.0.0.1:{served.port}"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Host": "evil.example"},
    ):
        assert served.had("POST", path, body, **headers)[0] == 403
    assert served.had("POST", path, body, token=False)[0] == 403
    assert served.had("POST", path, b"label=cat", Content_Type="application/x-www-form-urlencoded")[0] == 415
    assert served.had("POST", path, b"label=cat", Content_Type="text/plain")[0] == 415
    assert served.had("GET", path)[0] == 405
    for method in ("PUT", "DELETE", "OPTIONS"):
        assert served.had(method, path, body)[0] == 405
    assert served.state()["counts"] == before


def test_no_answer_lets_another_site_read_or_frame_it(served):
    for path in PATHS:
        _, headers, _ = served.had("GET", path, Origin="http://evil.example")
        names = {name.lower() for name in headers}
        assert not any(name.startswith("access-control") for name in names)
        assert "server" not in names
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
        assert headers["x-frame-options"] == "DENY"


@pytest.mark.parametrize("body", [
    b"", b"{", b"[]", b'"a"', b"null", b"{}", b'{"label": 3}', b'{"label": ["cat"]}', b"\xff\xfe", b'{"label": "a/b"}',
    b'{"region": [1, 2]}', b'{"region": [1, 2, -3, 4]}', b'{"region": "all"}', b'{"region": [0, 0, 99999, 9]}',
    b'{"region": [0, 0, 0, 0]}',
])  # fmt: skip
def test_what_makes_no_sense_is_refused_in_words(served, body):
    for path in ("/keep", "/name", "/region"):
        status, _, content = served.had("POST", path, body)
        if path == "/region" and status == 200:  # no region at all is the whole picture
            continue
        assert status in {400, 409}, (path, content)
        assert json.loads(content)["says"]
    assert served.state()["region"] is None


def test_a_generation_that_does_not_serve_any_more_is_neither_accepted_nor_left(served):
    for path in ("/accept", "/roll-back"):
        status, _, content = served.had("POST", path, {"generation": "0009"})
        assert (status, "0000 serves by now" in json.loads(content)["says"]) == (409, True)
        assert served.had("POST", path, {})[0] == 400


def test_what_is_too_long_is_refused(served):
    assert served.had("POST", "/name", b" " * 70_000 + b"{}")[0] == 413
    long = b"{" + b" " * 70_000 + b"}"
    for length in ("", "Content-Length: 2\r\n"):  # which is not the length of what comes in chunks
        head = length + "Transfer-Encoding: chunked\r\n"
        assert raw(served, head, b"%x\r\n%b\r\n0\r\n\r\n" % (len(long), long)).startswith(b"HTTP/1.1 413 ")


def raw(served, head, body):
    """What the server answers to what no browser would send."""
    own = f"127.0.0.1:{served.port}"
    sent = (
        f"POST {served.below}/name HTTP/1.1\r\nHost: {own}\r\nCookie: reverie-{served.port}={served.token}\r\n"
        f"Origin: http://{own}\r\nContent-Type: application/json\r\n{head}\r\n"
    )
    with socket.create_connection(("127.0.0.1", served.port), timeout=PATIENCE) as connection:
        connection.sendall(sent.encode() + body)
        return connection.recv(1000)


def test_what_is_no_http_harms_nobody(bundle, cat_clip, tmp_path):
    home = tmp_path / "home"
    installation.install(bundle, home)
    server = Served("--home", home, "--source", cat_clip, "--loop")
    for body in (b"no length of a chunk\r\n", b"\xff" * 100 + b"\r\n"):
        assert raw(server, "Transfer-Encoding: chunked\r\n", body)[:12] in {b"HTTP/1.1 413", b"HTTP/1.1 400"}
    assert server.had("GET", "/state")[0] == 200
    code, _, error = server.end()
    assert (code, "Traceback" in error) == (0, False)


def test_a_generation_that_cannot_be_read_is_told_in_one_line(bundle, cat_clip, tmp_path):
    home = tmp_path / "home"
    installation.install(bundle, home)
    server = Served("--home", home, "--source", cat_clip, "--loop")
    (home / "generations/0000/generation.json").write_text("{")
    for path in ("/result", "/generated.png", "/synthesised.png"):
        status, _, content = server.had("GET", path)
        assert (status, "no readable generation 0000" in json.loads(content)["says"]) == (409, True)
    assert server.end() == (0, "", "for a browser of this machine; Ctrl-C ends it\n")


def test_it_listens_on_this_machine_alone(served):
    with socket.create_connection(("127.0.0.1", served.port)):
        pass
    own = socket.gethostbyname(socket.gethostname())
    if not own.startswith("127."):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((own, served.port), timeout=5)


@pytest.mark.parametrize("host", REACHED_BY_OTHERS)
def test_an_address_that_others_reach_is_refused(reverie, home, cat_clip, host):
    done = reverie("serve", "--home", home, "--source", cat_clip, "--host", host)
    assert (done.code, done.out, len(done.err.splitlines())) == (1, "", 1)
    assert "images off the box" in done.err


def test_addresses_of_this_machine_are_taken():
    assert [loopback(host) for host in ("127.0.0.1", "localhost", "::1", "[::1]", "127.0.0.7")] == [
        "127.0.0.1", "127.0.0.1", "::1", "::1", "127.0.0.7",
    ]  # fmt: skip
    with pytest.raises(HomeError):
        loopback("10.0.0.1")


def test_a_port_that_is_taken_is_told(reverie, home, cat_clip, served):
    done = reverie("serve", "--home", home, "--source", cat_clip, "--port", served.port)
    assert (done.code, len(done.err.splitlines())) == (1, 1)
    assert f"port {served.port} of 127.0.0.1 cannot be had" in done.err


def test_the_page_holds_no_address_but_its_own(repository):
    for name, _ in FILES.values():
        text = (repository / "tools/page" / name).read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert "//" not in text.replace("// ", "")
