"""How a command that runs until somebody ends it is ended."""

from __future__ import annotations

import signal


def end_as_by_ctrl_c() -> None:
    """Signals of a service manager and of a closing terminal become KeyboardInterrupt; nohup is respected."""
    for name in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(name) is not signal.SIG_IGN:
            signal.signal(name, signal.default_int_handler)
