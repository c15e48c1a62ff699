"""`reverie serve`: the page, for a screen of the box."""

from __future__ import annotations

import contextlib
import secrets
import socket
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import click

from reverie.tools.ending import end_as_by_ctrl_c
from reverie.tools.extras import require_extra
from reverie.tools.options import Source, ask_option, home_option, quota_option, source_options, update_after_option

if TYPE_CHECKING:
    from reverie.tools.views.session import Session

PROBATION = 10_000


@click.command("serve")
@home_option
@source_options(required=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="An address of this machine alone.")
@click.option("--port", default=8500, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one.")
@click.option(
    "--every",
    default=0.3,
    show_default=True,
    type=click.FloatRange(0.05),
    help="Seconds from a kept frame to the next while a button is held.",
)
@update_after_option
@ask_option
@click.option(
    "--probation",
    default=PROBATION,
    show_default=True,
    type=click.IntRange(0),
    help="Predictions until what an update made is kept for good, if nobody keeps it before.",
)
@quota_option
def command(
    home: Path,
    source: Source,
    host: str,
    port: int,
    every: float,
    update_after: int | None,
    ask_below: float,
    probation: int,
    max_mb: int,
) -> None:
    """Show the camera, keep frames, update and roll back on a page in a browser of this machine.

    The address that is printed holds a token; without it nothing is to be had. No other machine is answered.
    """
    from reverie.device_runtime.home.layout import open_home

    require_extra("page", ["starlette", "uvicorn"], "the page needs starlette, uvicorn and h11")
    from reverie.tools.page.guard import loopback
    from reverie.tools.views.session import Session

    address = loopback(host)
    open_home(home)
    listening = _listen(address, port)
    end_as_by_ctrl_c()
    with closing(listening), closing(source.open(patiently=True)) as camera:
        session = Session(
            home,
            camera,
            region=source.region,
            every=every,
            ask_below=ask_below,
            update_after=update_after,
            update_options=("--probation", str(probation)),
            quota=max_mb << 20,
        )
        with closing(session), contextlib.suppress(KeyboardInterrupt):
            _serve(session, listening, address)
        update = session.snapshot.update
    if update is not None and update.outcome == "stopped":
        click.echo(f"the update was interrupted; go on with: reverie update --home {home}", err=True)


def _serve(session: Session, listening: socket.socket, address: str) -> None:
    """Answer until Ctrl-C."""
    import uvicorn

    from reverie.tools.page.app import Page
    from reverie.tools.page.guard import Guard, Impatient, in_address

    port = listening.getsockname()[1]
    token = secrets.token_urlsafe(24)
    guarded = Guard(Page(session).app(), token, address, port)
    config = uvicorn.Config(
        guarded,
        http=Impatient,
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(config)
    click.echo(f"http://{in_address(address)}:{port}/?token={token}")
    click.echo("for a browser of this machine; Ctrl-C ends it", err=True)
    server.run(sockets=[listening])


def _listen(address: str, port: int) -> socket.socket:
    from reverie.device_runtime.errors import HomeError

    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        return socket.create_server((address, port), family=family)
    except OSError as error:
        raise HomeError(f"port {port} of {address} cannot be had ({error.strerror}): choose another --port") from None
