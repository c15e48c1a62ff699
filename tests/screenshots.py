"""The pictures in docs/ of views, page and report: `make screenshots`, which needs `make .clips` and Chromium."""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from browser import Page, start
from rich.console import Console
from served import Served

from reverie.device_runtime.camera.camera import Camera
from reverie.device_runtime.changes import installation
from reverie.tools.views.controls import Controls
from reverie.tools.views.session import Session
from reverie.tools.views.terminal_view import page as terminal_page

ROOT = Path(__file__).parents[1]
CLIPS = ROOT / ".clips"
DEMO = ROOT / "models/fashion-demo"
DESK = {"width": 1280, "height": 900, "deviceScaleFactor": 1, "mobile": False}
PHONE = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
COLUMNS, LINES = 110, 28


def main():
    driver = start()
    try:
        with tempfile.TemporaryDirectory() as scratch:
            at_a_terminal(driver, Path(scratch))
            on_the_page(driver, Path(scratch) / "page")
            in_a_report(driver, Path(scratch))
    finally:
        driver.quit()


def at_a_terminal(driver, scratch):
    """The view while the cup is learnt."""
    home = scratch / "terminal"
    installation.install(CLIPS / "bundle", home)
    camera = Camera(str(CLIPS / "clips/cup.mp4"), loop=True)
    size = {"width": COLUMNS, "height": LINES}
    console = Console(record=True, **size, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    with closing(camera), closing(Session(home, camera, label="cup", count=40, every=0.1, update_after=40)) as session:
        while (update := session.snapshot.update) is None or not len(update.losses.get("generative update", ())) > 8:
            time.sleep(0.02)
        console.print(terminal_page(session.snapshot, Controls(session, chosen="cup"), COLUMNS, LINES, plain=False))
    shown = scratch / "terminal.html"
    console.save_html(str(shown), inline_styles=True, code_format=TERMINAL)
    driver.get(shown.as_uri())
    driver.find_element("tag name", "pre").screenshot(str(ROOT / "docs/capture.png"))


LOOKS = "margin: 0; padding: 12px; display: inline-block; color: #ddd; font: 14px/16px 'DejaVu Sans Mono', monospace"
TERMINAL = f"""<!doctype html><meta charset="utf-8"><body style="margin: 0; background: #111">
<pre style="{LOOKS}">{{code}}</pre>"""


def on_the_page(driver, home):
    """The page with what it learnt, and on a phone."""
    installation.install(CLIPS / "bundle", home)
    server = Served("--home", home, "--source", CLIPS / "clips/cup.mp4", "--loop", "--every", "0.1")
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", DESK)
    driver.get(server.url)
    page = Page(driver, server)
    page.name("cup")
    page.hold("cup", 5)
    page.find("update").click()
    page.until(lambda: page.text("outcome").startswith("Learnt"))
    page.until(lambda: page.text("seen").startswith("cup"))
    time.sleep(1)
    driver.execute_script("scrollTo(0, 0)")
    driver.save_screenshot(str(ROOT / "docs/page.png"))
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    time.sleep(1)
    driver.save_screenshot(str(ROOT / "docs/page-phone.png"))
    driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    driver.get("about:blank")
    server.end()


def in_a_report(driver, scratch):
    """The report of the demo's update."""
    home, file = scratch / "report", scratch / "report.html"
    run = [sys.executable, "-c", "from reverie.tools.cli import main; main()"]
    subprocess.run([*run, "install", DEMO / "bundle", "--home", home], check=True)
    subprocess.run([*run, "update", "--home", home, "--frames", DEMO / "frames"], check=True)
    subprocess.run([*run, "report", "--home", home, "--output", file], check=True)
    driver.get(file.as_uri())
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", DESK | {"width": 860, "height": 1500})
    time.sleep(1)
    driver.save_screenshot(str(ROOT / "docs/report.png"))


if __name__ == "__main__":
    main()
