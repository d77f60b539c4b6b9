"""CHANGELOG.md, held against https://keepachangelog.com/en/1.1.0/ and the version."""

import re
from datetime import date
from pathlib import Path

from packaging.version import Version

from mrmd_python import __version__

_LINES = (Path(__file__).parents[1] / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()
_KINDS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_the_changelog_has_the_form_that_it_says_it_has() -> None:
    assert _LINES[0] == "# Changelog"
    assert any("https://keepachangelog.com/en/1.1.0/" in line for line in _LINES)
    headings = [line for line in _LINES if line.startswith("## ")]
    released = headings[1:] if headings[0] == "## [Unreleased]" else headings
    entries = [re.fullmatch(r"## \[(\d+\.\d+\.\d+)\] - (\d{4}-\d{2}-\d{2})", heading) for heading in released]
    found = [(Version(entry[1]), date.fromisoformat(entry[2])) for entry in entries if entry is not None]
    assert len(found) == len(released), "each release has its number and its day"
    assert found == sorted(found, reverse=True)
    assert all(version <= Version(__version__) for version, _ in found)
    assert headings[0] == "## [Unreleased]" or found[0][0] == Version(__version__)
    for heading in (line for line in _LINES if line.startswith("### ")):
        assert heading.removeprefix("### ") in _KINDS
