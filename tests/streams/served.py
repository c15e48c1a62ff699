"""`reverie serve` in a process of its own."""

from __future__ import annotations

import contextlib
import http.client
import json
import shutil
import signal
import subprocess
import sys
from urllib.parse import parse_qs, urlsplit

from waiting import PATIENCE

AS_STARTED = "from reverie.tools.cli import main; main()"
RUN = f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler); {AS_STARTED}"


@contextlib.contextmanager
def inherited(sign, handling):
    """What is started meanwhile begins with this handling of a signal, as under a shell's & or nohup."""
    before = signal.signal(sign, handling)
    try:
        yield
    finally:
        signal.signal(sign, before)


class Served:
    """The process, its address, and requests to it."""

    def __init__(self, *arguments, before=""):
        """`before` is code that the process runs first."""
        command = [sys.executable, "-c", before + RUN, "serve", "--port", "0", *map(str, arguments)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip()
        self.port = urlsplit(self.url).port
        self.token = parse_qs(urlsplit(self.url).query).get("token", [""])[0]
        self.below = ""
        """Where everything lies, as a browser is told."""
        if self.token:
            self.below = self.ask("GET", f"/?token={self.token}", token=False)[1]["location"].rstrip("/")

    def ask(self, method, path, body=None, *, token=True, **headers):
        """Status, headers and content of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        sent = {"Host": f"127.0.0.1:{self.port}"}
        if token:
            sent["Cookie"] = f"reverie-{self.port}={self.token}"
        if body is not None:
            sent |= {"Content-Type": "application/json", "Origin": f"http://127.0.0.1:{self.port}"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(method, path, content, {name: value for name, value in sent.items() if value is not None})
        answer = connection.getresponse()
        found = (answer.status, dict(answer.getheaders()), answer.read())
        connection.close()
        return found

    def had(self, method, path, body=None, **headers):
        """An answer of what lies below."""
        return self.ask(method, self.below + path, body, **headers)

    def state(self):
        """What the page is told."""
        return json.loads(self.had("GET", "/state")[2])

    def end(self):
        """Ctrl-C: exit code and what was said."""
        self.process.send_signal(signal.SIGINT)
        out, error = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, out, error


def chromium():
    """Whether there is a browser to test with."""
    return shutil.which("chromium") is not None and shutil.which("chromedriver") is not None
