"""A headless Chromium."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

# Host names of an attacker that resolve to this machine.
_NAMES = "MAP attacker.test 127.0.0.1, MAP rebound.test 127.0.0.1"


@contextmanager
def started(directory: Path, *arguments: str) -> Iterator[webdriver.Chrome]:
    """Run a browser with its profile in `directory`; tests can read its console and network logs."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        missing = "the browser tests need chromium: apt-get install chromium chromium-driver"
        if os.environ.get("MRMD_TEST_REQUIRE_SYSTEMD"):
            pytest.fail(missing)
        pytest.skip(missing)
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    required = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage")
    own = (f"--user-data-dir={directory}", f"--host-resolver-rules={_NAMES}")
    for argument in (*required, *own, *arguments):
        options.add_argument(argument)
    browser = webdriver.Chrome(options, Service(driver))
    try:
        browser.set_script_timeout(60)
        yield browser
    finally:
        browser.quit()
