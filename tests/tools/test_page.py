"""The page in a real browser: somebody names things, lets the box learn, watches, and goes back."""

from __future__ import annotations

import os
import time
from contextlib import closing

import cv2
import pytest
from clips import wander
from mjpeg import MjpegServer
from served import Served, chromium

from reverie.device_runtime import frame_store, installation, store

webdriver = pytest.importorskip("selenium.webdriver")
if not chromium() and not os.environ.get("CI"):
    pytest.skip("needs Debian's chromium and chromium-driver", allow_module_level=True)

from selenium.webdriver.chrome.service import Service  # noqa: E402 (where it can be imported)
from selenium.webdriver.common.action_chains import ActionChains  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402

PHONE = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}


@pytest.fixture(scope="module")
def driver():
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,900"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    started = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    yield started
    started.quit()


@pytest.fixture
def serve(home):
    """Start the server of a home, and end it."""
    started = []

    def begin(*arguments, at=home):
        started.append(Served("--home", at, *arguments))
        return started[-1]

    yield begin
    for server in started:
        if server.process.poll() is None:
            server.end()


@pytest.fixture
def page(driver, serve, cat_clip):
    """A page that shows a cat; whatever the browser complained about is a failure."""
    server = serve("--source", cat_clip, "--loop", "--every", "0.05")
    driver.get_log("browser")  # what pages of servers before said when these had ended
    driver.get(server.url)
    yield Page(driver, server)
    driver.get("about:blank")
    severe = [entry["message"] for entry in driver.get_log("browser") if entry["level"] == "SEVERE"]
    assert [message for message in severe if "409" not in message] == []  # which is how refusals are answered


class Page:
    """What a person does on it and sees."""

    def __init__(self, driver, server):
        self.driver, self.server = driver, server
        self.until(lambda: "%" in self.text("seen"))

    def until(self, condition, seconds=120):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if condition():
                return
            time.sleep(0.05)
        pytest.fail(f"not within {seconds} s; the page says {self.driver.find_element(By.TAG_NAME, 'body').text}")

    def find(self, name):
        return self.driver.find_element(By.ID, name)

    def text(self, name):
        return self.find(name).text

    def button(self, label):
        found = [
            b
            for b in self.driver.find_elements(By.CSS_SELECTOR, "#classes button")
            if b.get_attribute("data-label") == label
        ]
        return found[0] if found else None

    def name(self, label):
        self.find("name").send_keys(label, Keys.ENTER)
        self.until(lambda: self.button(label) is not None, 5)

    def hold(self, label, seconds):
        ActionChains(self.driver).click_and_hold(self.button(label)).pause(seconds).release().perform()

    def frames(self, label):
        return self.server.state()["counts"].get(label, 0)


def test_a_thing_is_named_shown_learnt_and_left_again(page, home):
    page.name("cat")
    page.hold("cat", 3)
    page.until(lambda: page.frames("cat") >= 20, 5)
    page.until(lambda: page.server.state()["holding"] is None, 5)
    page.until(lambda: f"{page.frames('cat')} frames" in page.button("cat").text, 5)
    assert page.text("last").startswith(("Kept as cat.", "Not kept as cat: "))

    page.find("update").click()
    stages, curves = set(), set()
    while not page.text("outcome"):
        stages.add(page.text("stage"))
        curves.add(len(page.driver.find_elements(By.CSS_SELECTOR, "#losses polyline")))
        time.sleep(0.05)
    assert page.text("outcome") == "Learnt: the result is in service."
    assert {"Stage 3 of 6: fine-tune", "Stage 6 of 6: generative update"} <= stages
    assert max(curves) >= 3
    page.until(lambda: page.text("seen").startswith("cat"))
    assert page.text("generation") == "generation 0001"
    page.until(lambda: "cat" in page.text("learnt"))
    assert "new" in page.text("learnt")
    for picture in ("generated", "synthesised"):
        image = page.find(picture)
        page.until(lambda image=image: page.driver.execute_script("return arguments[0].naturalWidth", image) > 100, 20)

    page.driver.refresh()  # all of it is there again
    page.until(lambda: "cat" in page.text("learnt"))
    page.find("back").click()
    page.driver.find_element(By.CSS_SELECTOR, "#sure button[value=yes]").click()
    page.until(lambda: page.text("generation") == "generation 0000")
    assert store.current(home) == "0000"
    page.until(lambda: page.frames("cat") >= 20, 10)  # to be learnt another time
    page.find("frames").find_element(By.TAG_NAME, "summary").click()
    page.until(lambda: "rolled back" in page.text("history"))
    page.find("purge-all").click()
    page.driver.find_element(By.CSS_SELECTOR, "#sure button[value=no]").click()
    assert page.frames("cat") >= 20
    page.find("purge-all").click()
    page.driver.find_element(By.CSS_SELECTOR, "#sure button[value=yes]").click()
    page.until(lambda: page.frames("cat") == 0)
    with frame_store.opened(home) as frames:
        assert frames.frames() == []


def test_everything_is_done_with_the_keyboard(page):
    keys = ActionChains(page.driver)
    page.find("name").send_keys("cat")
    keys.send_keys(Keys.ENTER).perform()
    page.until(lambda: page.button("cat") is not None, 5)
    page.until(lambda: page.driver.switch_to.active_element.get_attribute("data-label") == "cat", 5)
    keys.key_down(Keys.SPACE).pause(1.5).key_up(Keys.SPACE).perform()
    page.until(lambda: page.frames("cat") > 3, 5)
    page.until(lambda: page.server.state()["holding"] is None, 5)
    before = page.frames("cat")
    page.driver.execute_script("document.activeElement.blur()")
    keys.key_down("4").key_up("4").perform()
    page.until(lambda: (s := page.server.state())["counts"].get("cat", 0) + s["set_aside"].get("cat", 0) > before, 5)
    page.driver.find_element(By.ID, "update").send_keys(Keys.ENTER)
    page.until(lambda: page.text("stage").endswith("fine-tune"))
    page.find("stop").send_keys(Keys.ENTER)
    page.until(lambda: page.text("outcome") == "Stopped.", 30)
    assert "goes on where it was" in page.text("ready")
    page.find("update").send_keys(Keys.ENTER)
    page.until(lambda: page.text("stage").endswith("fine-tune"))


def test_enter_confirms_what_the_solver_is_sure_of(page):
    page.until(lambda: page.server.state()["suggested"] is not None)
    page.driver.execute_script("document.activeElement.blur()")

    def confirmed():
        ActionChains(page.driver).send_keys(Keys.ENTER).perform()
        return sum(page.server.state()["counts"].values()) > 0

    page.until(confirmed, 20)


def test_the_phone_shows_all_of_it_without_scrolling_sideways_and_a_finger_holds(page):
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    page.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    try:
        page.name("a name that is as long as a name may be, so that it must be cut")
        page.name("cat")
        assert page.driver.execute_script("return document.documentElement.scrollWidth") <= 360
        box = page.button("cat").rect
        page.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", page.button("cat"))
        x, y = page.driver.execute_script(
            "const r = arguments[0].getBoundingClientRect(); return [r.x + 20, r.y + 20]", page.button("cat")
        )
        assert box["height"] >= 44
        page.driver.execute_cdp_cmd(
            "Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]}
        )
        page.until(lambda: page.server.state()["holding"] == "cat", 5)
        page.until(lambda: page.frames("cat") > 3, 10)
        page.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        page.until(lambda: page.server.state()["holding"] is None, 5)
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        page.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})


def test_a_page_that_goes_away_while_it_holds_keeps_nothing_more(page):
    page.name("cat")
    ActionChains(page.driver).click_and_hold(page.button("cat")).perform()
    page.until(lambda: page.server.state()["holding"] == "cat", 5)
    page.driver.execute_script("window.onblur = null; window.stop()")
    page.driver.get("about:blank")
    page.until(lambda: page.server.state()["holding"] is None, 5)
    ActionChains(page.driver).release().perform()


def test_a_name_is_a_name_and_no_markup(page):
    page.name("<img src=x onerror=alert(1)>")
    assert page.driver.find_elements(By.CSS_SELECTOR, "#classes img") == []
    assert "<img src=x" in page.button("<img src=x onerror=alert(1)>").text
    page.find("name").send_keys("a/b", Keys.ENTER)
    page.until(lambda: "cannot be a label" in page.text("says"), 5)


def test_two_pages_show_the_same(page):
    first = page.driver.current_window_handle
    page.driver.switch_to.new_window("tab")
    page.driver.get(page.server.url)
    page.until(lambda: "%" in page.text("seen"))
    page.name("cat")
    page.driver.close()
    page.driver.switch_to.window(first)
    page.until(lambda: page.button("cat") is not None, 5)


def test_a_part_of_the_picture_is_looked_at(page):
    page.find("part").click()
    picture = page.find("frame")
    chain = ActionChains(page.driver).move_to_element_with_offset(picture, -60, -60)
    chain.click_and_hold().move_by_offset(100, 90).release().perform()
    page.until(lambda: page.server.state()["region"] is not None, 5)
    _, _, width, height = page.server.state()["region"]
    assert 16 <= width < 240
    assert 16 <= height < 200
    page.until(lambda: page.find("whole").is_displayed(), 5)
    page.find("whole").click()
    page.until(lambda: page.server.state()["region"] is None, 5)


def test_an_unsure_frame_is_asked_about(driver, serve, cat_clip):
    server = serve("--source", cat_clip, "--loop", "--ask-below", "1")
    driver.get(server.url)
    page = Page(driver, server)
    page.until(lambda: page.find("asking").is_displayed())
    page.until(lambda: driver.execute_script("return arguments[0].naturalWidth", page.find("asked")) > 0, 10)
    page.button("sandal").click()
    page.until(lambda: page.frames("sandal") == 1, 5)
    page.until(lambda: not page.find("asking").is_displayed(), 5)


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
        page.until(lambda: page.text("camera") == "camera: live", 20)
    page.until(lambda: "trying again" in page.text("camera"), 20)


def test_behind_a_backbone_the_page_says_that_there_are_no_pictures(driver, serve, backbone_bundle, cat_clip, tmp_path):
    home = tmp_path / "features"
    installation.install(backbone_bundle, home)
    server = serve("--source", cat_clip, "--loop", "--every", "0.05", at=home)
    driver.get(server.url)
    page = Page(driver, server)
    assert not page.find("result").is_displayed()
    result = server.ask("GET", "/result")[2]
    assert b'"features":true' in result
