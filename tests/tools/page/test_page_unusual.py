"""The page in a real browser when something is unusual: what it says, and that nothing happens unseen."""

from __future__ import annotations

import time
from contextlib import closing

import cv2
import pytest
from clips import wander
from mjpeg import MjpegServer

from reverie.device_runtime.changes import installation

pytest.importorskip("selenium")

from browser import Page
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys


def test_a_page_that_goes_away_while_it_holds_keeps_nothing_more(page):
    page.name("cat")
    ActionChains(page.driver).click_and_hold(page.button("cat")).perform()
    page.until(lambda: page.server.state()["holding"] == "cat")
    page.driver.execute_script("window.onblur = null; window.stop()")
    page.driver.get("about:blank")
    page.until(lambda: page.server.state()["holding"] is None)
    ActionChains(page.driver).release().perform()


def test_a_name_is_a_name_and_no_markup(page):
    page.name("<img src=x onerror=alert(1)>")
    assert page.driver.find_elements(By.CSS_SELECTOR, "#classes img") == []
    assert "<img src=x" in page.button("<img src=x onerror=alert(1)>").text
    page.find("name").send_keys("a/b", Keys.ENTER)
    page.until(lambda: "cannot be a label" in page.text("says"))


def test_two_pages_show_the_same(page):
    first = page.driver.current_window_handle
    page.driver.switch_to.new_window("tab")
    page.driver.get(page.server.url)
    page.until(lambda: "%" in page.text("seen"))
    page.name("cat")
    page.driver.close()
    page.driver.switch_to.window(first)
    page.until(lambda: page.button("cat") is not None)


def test_an_unsure_frame_is_asked_about(driver, serve, cat_clip):
    server = serve("--source", cat_clip, "--loop", "--ask-below", "1")
    driver.get(server.url)
    page = Page(driver, server)
    page.until(lambda: page.find("asking").is_displayed())
    page.until(lambda: driver.execute_script("return arguments[0].naturalWidth", page.find("asked")) > 0)
    page.button("sandal").click()
    page.until(lambda: page.frames("sandal") == 1)
    page.until(lambda: not page.find("asking").is_displayed())


def test_a_camera_that_is_not_there_yet_is_told_and_taken_when_it_comes(driver, serve):
    with closing(MjpegServer()) as found:
        port = found.port
    server = serve("--source", f"http://me:s3cret@127.0.0.1:{port}/stream.mjpg")
    driver.get(server.url)
    end = time.monotonic() + 20
    while "trying again" not in driver.find_element(By.ID, "camera").text:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert "s3cret" not in driver.page_source
    with closing(MjpegServer(port=port, picture=cv2.resize(next(wander("rocket", 1)), (256, 192)))):
        page = Page(driver, server)
        page.until(lambda: page.text("camera") == "camera: live")
    page.until(lambda: "trying again" in page.text("camera"))


def test_a_page_whose_server_ended_says_so_and_what_to_open_of_the_next_one(driver, serve, cat_clip):
    server = serve("--source", cat_clip, "--loop")
    driver.get(server.url)
    page = Page(driver, server)
    server.end()
    page.until(lambda: page.text("camera") == "the box does not answer")
    page.button("sandal").click()
    page.until(lambda: page.text("says") == "the box does not answer")
    serve("--source", cat_clip, "--loop", "--port", server.port)
    page.until(lambda: "open the address that it printed" in page.text("camera"))


def test_behind_a_backbone_the_page_says_that_there_are_no_pictures(driver, serve, backbone_bundle, cat_clip, tmp_path):
    home = tmp_path / "features"
    installation.install(backbone_bundle, home)
    server = serve("--source", cat_clip, "--loop", "--every", "0.05", at=home)
    driver.get(server.url)
    page = Page(driver, server)
    assert not page.find("result").is_displayed()
    result = server.had("GET", "/result")[2]
    assert b'"features":true' in result
    assert server.had("GET", "/synthesised.png")[0] == 404
    status, _, said = server.had("GET", "/generated.png")
    assert (status, b"are no pictures" in said) == (409, True)
