"""What an update held back is said on the page, and learnt all the same by somebody who insists."""

from __future__ import annotations

import pytest

pytest.importorskip("selenium")

from selenium.webdriver.common.by import By


@pytest.fixture
def home(doubted):
    return doubted


def test_what_was_held_back_is_named_and_learnt_by_who_insists(page):
    assert not page.find("doubted").is_displayed()
    page.find("update").click()
    page.until(lambda: page.find("doubted").is_displayed())
    assert "pants: 19 of 20 frames are taken for trouser" in page.text("outcome")
    assert page.text("held-back") == "Held back, as it looks like something else: pants."
    page.find("insist").click()
    page.driver.find_element(By.CSS_SELECTOR, "#sure button[value=yes]").click()
    page.until(lambda: "held back" not in page.text("outcome") and page.text("outcome"))
    assert not page.find("doubted").is_displayed()
