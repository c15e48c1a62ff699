"""Connections to the page's server that anybody on this machine may open, and how addresses may name it."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest
from waiting import PATIENCE, until

pytest.importorskip("starlette")

from reverie.tools.page.guard import MOST_CONNECTIONS, Guard


def test_connections_that_ask_for_nothing_are_closed_and_hinder_nobody(serve, cat_clip):
    served = serve("--source", cat_clip, "--loop")
    with contextlib.ExitStack() as opened:
        idle = [opened.enter_context(connected(served)) for _ in range(3 * MOST_CONNECTIONS)]
        dripping = idle[0]
        dripping.sendall(b"GET / HTTP/1.1\r\nHost:")
        assert sum(closed(one, 1.0) for one in idle[-5:]) == 5
        until(lambda: closed(dripping, 0.1))
    until(lambda: served.had("GET", "/state")[0] == 200)


def connected(served):
    return socket.create_connection(("127.0.0.1", served.port), timeout=PATIENCE)


def closed(connection, seconds):
    """Whether the server ends a connection within so many seconds."""
    connection.settimeout(seconds)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def test_on_the_port_that_addresses_leave_out_the_page_is_had_without_it():
    async def asked(host):
        said = []

        async def send(message):
            said.append(message)

        headers = [(b"host", host.encode()), (b"sec-fetch-site", b"none")]
        scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"token=secret", "headers": headers}
        await Guard(None, "secret", "127.0.0.1", 80)(scope, None, send)
        return said[0]["status"]

    assert [asyncio.run(asked(host)) for host in ("127.0.0.1", "localhost:80", "evil.example")] == [303, 303, 403]
