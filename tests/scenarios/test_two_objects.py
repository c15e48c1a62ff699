"""Two things are held up to a camera, named and learnt, and recognised later: by commands, and on the page."""

from __future__ import annotations

import json
import os

import pytest
from served import Served, chromium
from short import enough, shorten_beside_a_camera, words

from reverie.device_runtime.home import store

WANTED = 0.95
"""Share of later frames that must be recognised."""


def recognised(reverie, home, clip, label):
    """Share of a clip's frames that are taken for `label`."""
    done = reverie("predict", "--home", home, "--source", clip, "--fast", "--json")
    assert done.code == 0, done.err
    seen = [line["label"] for line in map(json.loads, done.out.splitlines()) if "frame" in line]
    return seen.count(label) / len(seen)


def test_two_things_are_captured_and_learnt_when_there_are_enough_frames_of_them(
    reverie, material, tmp_path, monkeypatch
):
    shorten_beside_a_camera(enough, patch=monkeypatch.setattr)
    home = tmp_path / "home"
    assert reverie("install", material.bundle, "--home", home).code == 0
    assert recognised(reverie, home, material.tested["cup"], "cup") == 0
    for label, more in (("cup", ()), ("box", ("--update-after", 60))):
        source = ("--source", material.learnt[label], "--fast", "--every", 0)
        done = reverie("capture", "--home", home, *source, "--label", label, "--count", 30, *more)
        assert done.code == 0, done.err
    assert store.current(home) == "0001"
    assert "now serves generation 0001" in done.out
    for label, clip in material.tested.items():
        assert recognised(reverie, home, clip, label) >= WANTED


def test_two_things_are_shown_on_the_page_learnt_and_left_again(reverie, material, tmp_path):
    pytest.importorskip("selenium")
    if not chromium() and not os.environ.get("CI"):
        pytest.skip("needs Debian's chromium and chromium-driver")
    from browser import Page, start

    home, short = tmp_path / "home", words(shorten_beside_a_camera, enough)
    assert reverie("install", material.bundle, "--home", home).code == 0
    driver = start()
    try:
        for label, clip in material.learnt.items():
            server = Served("--home", home, "--source", clip, "--loop", "--every", "0.05", before=short)
            driver.get(server.url)
            page = Page(driver, server)
            page.name(label)
            page.hold(label, 4)
            page.until(lambda page=page, label=label: page.frames(label) >= 20)
            if label == "box":
                page.find("update").click()
                page.until(lambda page=page: page.text("outcome").startswith("Learnt"))
                page.until(lambda page=page: page.text("generation") == "generation 0001")
            driver.get("about:blank")
            server.end()
        for label, clip in material.tested.items():
            server = Served("--home", home, "--source", clip, "--loop")
            driver.get(server.url)
            page = Page(driver, server)
            page.until(lambda page=page, label=label: page.text("seen").startswith(f"{label}\n"))
            if label == "cup":
                driver.get("about:blank")
                server.end()
        for label, clip in material.tested.items():
            assert recognised(reverie, home, clip, label) >= WANTED
        page.find("back").click()
        driver.find_element("css selector", "#sure button[value=yes]").click()
        page.until(lambda: page.text("generation") == "generation 0000")
        assert store.current(home) == "0000"
        driver.get("about:blank")
        server.end()
    finally:
        driver.quit()
