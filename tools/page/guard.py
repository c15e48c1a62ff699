"""Who may ask the page's server: somebody with this session's token, from a page of this server, on this machine.

Other users of the machine lack the token. Other sites that a browser visits lack it too, and are told by Host and
Origin; answers carry no header that would let them read. A browser sends cookies to all ports of a machine, so the
token is one for a path that nobody else knows. Connections that ask for nothing are closed: anybody may open them.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import ipaddress
import secrets
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qs

import h11
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from reverie.device_runtime.errors import HomeError

MOST_BYTES = 64 << 10
"""Of what is asked: labels and numbers."""
MOST_CONNECTIONS = 64
"""At a time: a browser opens half a dozen."""
UNASKED_SECONDS = 10.0
"""Until a connection that has not asked anything is closed."""
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}
HTTP_PORT = 80
"""Which browsers leave out of an address."""


def loopback(host: str) -> str:
    """The address to bind to. Raises HomeError unless `host` is of this machine alone."""
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host.strip("[]"))
    except ValueError:
        address = None
    if address is None or not address.is_loopback:
        raise HomeError(
            f"the page is for a screen of this machine and not to be had at {host}: whoever saw it elsewhere would get "
            "images off the box; use 127.0.0.1, ::1 or localhost"
        )
    return str(address)


def in_address(address: str) -> str:
    """As it stands in an address, where a colon comes before the port."""
    return f"[{address}]" if ":" in address else address


class Guard:
    """Lets through to `app` what may be asked of it."""

    def __init__(self, app: ASGIApp, token: str, address: str, port: int) -> None:
        self._app, self._token = app, token
        names = {in_address(address), "localhost", "127.0.0.1", "[::1]"}
        self._hosts = {f"{name}:{port}" for name in names} | (names if port == HTTP_PORT else set())
        self._cookie = f"reverie-{port}"
        self._below = f"/{secrets.token_urlsafe(12)}/"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or hand on."""
        if scope["type"] != "http":  # the server's own start and end; there are no sockets here
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        answer = self._refusal(scope) or self._app
        if answer is self._app:
            scope = {**scope, "path": "/" + scope["path"].removeprefix(self._below)}
        with contextlib.suppress(h11.LocalProtocolError):  # what came was no HTTP after all, and the server has said so
            await answer(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        """What to answer in place of the page; None if it may be had."""
        headers = Headers(scope=scope)
        if headers.get("host", "") not in self._hosts:
            return _refused("this server answers for this machine alone")
        if headers.get("sec-fetch-site", "none") not in {"same-origin", "none"}:
            return _refused("another site may not ask this")
        token = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if scope["method"] in {"GET", "HEAD"}:
            if scope["path"] == "/" and self._is(token):
                there = RedirectResponse(self._below, 303)
                there.set_cookie(self._cookie, self._token, path=self._below, httponly=True, samesite="strict")
                return there
        elif refused := self._refusal_of_change(headers):
            return refused
        if not scope["path"].startswith(self._below) or not self._is(_cookie(headers, self._cookie)):
            return _refused("open the address that reverie serve printed: it holds the token of this session")
        return None

    def _refusal_of_change(self, headers: Headers) -> Response | None:
        if headers.get("origin", "") not in {f"http://{host}" for host in self._hosts}:
            return _refused("another site may not change anything")
        if headers.get("content-type", "") != "application/json":
            return _refused("what is asked comes as JSON", 415)
        length = headers.get("content-length", "")  # which says nothing of a body that comes in chunks
        if "transfer-encoding" in headers or not length.isdecimal() or int(length) > MOST_BYTES:
            return _refused("what is asked is too long", 413)
        return None

    def _is(self, token: str) -> bool:
        return hmac.compare_digest(token.encode(), self._token.encode())


def _cookie(headers: Headers, name: str) -> str:
    cookies: SimpleCookie = SimpleCookie()
    try:
        cookies.load(headers.get("cookie", ""))
    except CookieError:
        return ""
    return cookies[name].value if name in cookies else ""


def _refused(why: str, status: int = 403) -> Response:
    return PlainTextResponse(f"Reverie: {why}\n", status, {"Connection": "close"})


class Impatient(H11Protocol):
    """A connection, closed if there are many already, or if it does not ask for anything."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """It was opened."""
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.close()
        else:
            self.loop.call_later(UNASKED_SECONDS, self._close_unasked)

    def _close_unasked(self) -> None:
        if not self.cycle:
            self.transport.close()
