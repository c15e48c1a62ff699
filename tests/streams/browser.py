"""A real browser with the page in it."""

from __future__ import annotations

import waiting
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys


def start():
    """Debian's Chromium, without a window."""
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,900"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))


class Page:
    """What a person does on it and sees."""

    def __init__(self, driver, server):
        self.driver, self.server = driver, server
        self.until(lambda: "%" in self.text("seen"))

    def until(self, condition):
        waiting.until(condition, shows=lambda: self.driver.find_element(By.TAG_NAME, "body").text)

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
        self.until(lambda: self.button(label) is not None)

    def hold(self, label, seconds):
        ActionChains(self.driver).click_and_hold(self.button(label)).pause(seconds).release().perform()

    def frames(self, label):
        return self.server.state()["counts"].get(label, 0)
