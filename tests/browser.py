"""A real browser, without a window."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

# Names that an attacker owns, and that lead to this machine.
_NAMES = "MAP attacker.test 127.0.0.1, MAP rebound.test 127.0.0.1"


@contextmanager
def started(folder: Path, *arguments: str) -> Iterator[webdriver.Chrome]:
    """Run a browser that has its profile in `folder`, and keeps what it logs and requests for tests to read."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        missing = "the browser tests need chromium: apt-get install chromium chromium-driver"
        if os.environ.get("MRMD_TEST_REQUIRE_SYSTEMD"):
            pytest.fail(missing)
        pytest.skip(missing)
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    own = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={folder}")
    for argument in (*own, f"--host-resolver-rules={_NAMES}", *arguments):
        options.add_argument(argument)
    browser = webdriver.Chrome(options, Service(driver))
    try:
        browser.set_script_timeout(60)
        yield browser
    finally:
        browser.quit()
