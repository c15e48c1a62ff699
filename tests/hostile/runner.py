"""Runs commands of `reverie`, each in a process of its own that is forked from one that has loaded everything.

Reads a JSON list of argument lists; prints a JSON list of how each ended: exit code or minus the signal, output, and
the most memory it had in MB.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
from pathlib import Path

from reverie.device_runtime.changes import transaction, upgrade, verification  # noqa: F401
from reverie.device_runtime.serving import predictor  # noqa: F401
from reverie.tools import cli
from reverie.tools.commands import install, predict, update, verify  # noqa: F401

SECONDS = 10
"""After which a command hangs: not a measure of its speed."""


def run(arguments):
    with tempfile.TemporaryFile("w+b") as output:
        child = os.fork()
        if child == 0:
            signal.alarm(SECONDS)
            for descriptor in (1, 2):
                os.dup2(output.fileno(), descriptor)
            sys.argv = ["reverie", *arguments]
            code = 70
            try:
                cli.main()
                code = 0
            except SystemExit as stop:
                code = stop.code
            except BaseException:  # noqa: BLE001
                sys.excepthook(*sys.exc_info())
            finally:
                sys.stderr.flush()
                sys.stdout.flush()
                os._exit(code)
        _, status, usage = os.wait4(child, 0)
        output.seek(0)
        said = output.read().decode("utf-8", errors="replace")
    return {"code": os.waitstatus_to_exitcode(status), "said": said, "megabytes": usage.ru_maxrss / 1024}


if __name__ == "__main__":
    commands = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    sys.stdout.write(json.dumps([run(arguments) for arguments in commands]))
