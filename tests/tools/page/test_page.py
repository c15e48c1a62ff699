"""The page in a real browser: somebody names things, lets the box learn, watches, and goes back."""

from __future__ import annotations

import time

import pytest
from short import enough, shorten_beside_a_camera, words

from reverie.device_runtime.frames import frame_store
from reverie.device_runtime.home import store

pytest.importorskip("selenium")

from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

PHONE = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}


@pytest.mark.parametrize("before", [words(shorten_beside_a_camera, enough)], ids=["of few steps"])
def test_a_thing_is_named_shown_learnt_and_left_again(page, home):
    page.name("cat")
    page.hold("cat", 3)
    page.until(lambda: page.frames("cat") >= 20)
    page.until(lambda: page.server.state()["holding"] is None)
    page.until(lambda: f"{page.frames('cat')} frames" in page.button("cat").text)
    assert page.text("last").startswith(("Kept as cat.", "Not kept as cat: "))

    page.find("update").click()
    stages, curves = set(), set()
    while not page.text("outcome"):
        stages.add(page.text("stage"))
        curves.add(len(page.driver.find_elements(By.CSS_SELECTOR, "#losses polyline")))
        time.sleep(0.05)
    assert page.text("outcome") == "Learnt: the result is in service."
    assert {"Stage 2 of 6: fine-tune", "Stage 6 of 6: generative update"} <= stages
    assert max(curves) >= 3
    page.until(lambda: page.text("seen").startswith("cat"))
    assert page.text("generation") == "generation 0001"
    page.until(lambda: "cat" in page.text("learnt"))
    assert "new" in page.text("learnt")
    for picture in ("generated", "synthesised"):
        image = page.find(picture)
        page.until(lambda image=image: page.driver.execute_script("return arguments[0].naturalWidth", image) > 100)

    page.driver.refresh()  # all of it is there again
    page.until(lambda: "cat" in page.text("learnt"))
    page.find("back").click()
    page.driver.find_element(By.CSS_SELECTOR, "#sure button[value=yes]").click()
    page.until(lambda: page.text("generation") == "generation 0000")
    assert store.current(home) == "0000"
    page.until(lambda: page.frames("cat") >= 20)  # to be learnt another time
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
    page.until(lambda: page.button("cat") is not None)
    page.until(lambda: page.driver.switch_to.active_element.get_attribute("data-label") == "cat")
    keys.key_down(Keys.SPACE).pause(1.5).key_up(Keys.SPACE).perform()
    page.until(lambda: page.frames("cat") > 3)
    page.until(lambda: page.server.state()["holding"] is None)
    before = page.frames("cat")
    page.driver.execute_script("document.activeElement.blur()")
    keys.key_down("4").key_up("4").perform()
    page.until(lambda: (s := page.server.state())["counts"].get("cat", 0) + s["set_aside"].get("cat", 0) > before)
    page.driver.find_element(By.ID, "update").send_keys(Keys.ENTER)
    page.until(lambda: page.text("stage").endswith("fine-tune"))
    assert page.driver.switch_to.active_element.get_attribute("id") == "stop"  # where the other button was
    kept = page.frames("cat")
    page.driver.refresh()  # in the middle of it
    page.until(lambda: page.text("stage").startswith("Stage "))
    assert page.frames("cat") == kept
    page.find("stop").send_keys(Keys.ENTER)
    page.until(lambda: page.text("outcome") == "Stopped.")
    assert "goes on where it was" in page.text("ready")
    page.find("update").send_keys(Keys.ENTER)
    page.until(lambda: page.text("stage").endswith("fine-tune"))


def test_two_names_typed_before_the_box_has_answered_are_both_there(page):
    page.find("name").send_keys("cat", Keys.ENTER, "dog", Keys.ENTER)
    page.until(lambda: page.button("cat") is not None and page.button("dog") is not None)
    page.find("name").send_keys("a/b", Keys.ENTER)
    page.until(lambda: "cannot be a label" in page.text("says"))
    assert page.find("name").get_attribute("value") == "a/b"  # to be mended


def test_enter_confirms_what_the_solver_is_sure_of(page):
    page.until(lambda: page.server.state()["suggested"] is not None)
    page.driver.execute_script("document.activeElement.blur()")

    def confirmed():
        ActionChains(page.driver).send_keys(Keys.ENTER).perform()
        return sum(page.server.state()["counts"].values()) > 0

    page.until(confirmed)


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
        page.until(lambda: page.server.state()["holding"] == "cat")
        page.until(lambda: page.frames("cat") > 3)
        page.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        page.until(lambda: page.server.state()["holding"] is None)
    finally:
        page.driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        page.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})


def test_a_part_of_the_picture_is_looked_at(page):
    page.find("part").click()
    picture = page.find("frame")
    chain = ActionChains(page.driver).move_to_element_with_offset(picture, -60, -60)
    chain.click_and_hold().move_by_offset(100, 90).release().perform()
    page.until(lambda: page.server.state()["region"] is not None)
    _, _, width, height = page.server.state()["region"]
    assert 16 <= width < 240
    assert 16 <= height < 200
    page.until(lambda: page.find("whole").is_displayed())
    page.find("whole").click()
    page.until(lambda: page.server.state()["region"] is None)
