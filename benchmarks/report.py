"""Formats the tables, and writes the samples as JSON."""

import json
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path

from benchmarks.case import BEFORE, BOXED, BOXED_BEFORE, IPYKERNEL, OLDER, OURS, SERVER, UNITS, XEUS, Case, Target

_COLUMNS = (OURS, OLDER, IPYKERNEL, SERVER, XEUS)
# The p99 is shown if there are at least this many samples, or if it is this many times the median.
_LATENCY_SAMPLES = 20
_OUTLIER = 10


def heading() -> str:
    """Return the time and the machine."""
    when = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return (
        f"{when}: {os.cpu_count()} cores of {_processor()}, {memory:.0f} GB, Linux {platform.release()}, "
        f"CPython {platform.python_version()}"
    )


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def table(cases: Iterable[Case]) -> str:
    """Return the contenders in Markdown: medians and, after a slash, the p99 if there are enough samples."""
    return _markdown(
        [
            ["", "unit", *_COLUMNS],
            *([case.name, case.unit, *(_cell(case, column) for column in _COLUMNS)] for case in cases),
        ]
    )


def comparison(cases: Iterable[Case]) -> str:
    """Return, in Markdown, what else was measured in each case, and whether the targets are met."""
    rows = [["", "unit", "for comparison", "targets"]]
    for case in cases:
        others = [f"{name} {_cell(case, name)}" for name in case.samples if name not in _COLUMNS]
        verdicts = [found for target in case.targets if (found := verdict(case, target))]
        if others or verdicts:
            rows.append([case.name, case.unit, "; ".join(others), "; ".join(verdicts)])
    return _markdown(rows)


def against(cases: Iterable[Case]) -> str:
    """Return, in Markdown, how each case compares with the earlier state: its median, ours, and their ratio."""
    rows = [["", "unit", BEFORE, "now", "now / before"]]
    for case in cases:
        for subject, earlier in ((OURS, BEFORE), (BOXED, BOXED_BEFORE)):
            now, before = case.statistic(subject, "median"), case.statistic(earlier, "median")
            if now is not None and before:
                name = case.name if subject == OURS else f"{case.name}, systemd"
                rows.append([name, case.unit, _number(before), _number(now), f"{now / before:.2f}"])
    return _markdown(rows)


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])


def _cell(case: Case, contender: str) -> str:
    median = case.statistic(contender, "median")
    if median is None:
        return "none" if contender in case.errors else ""
    p99 = case.statistic(contender, "p99")
    assert p99 is not None
    shows_p99 = len(case.samples[contender]) >= _LATENCY_SAMPLES or p99 > _OUTLIER * median
    return f"{_number(median)} / {_number(p99)}" if shows_p99 else _number(median)


def _number(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def verdict(case: Case, target: Target) -> str:
    """Return whether a target is met, with the figures, or "" if one of the two has no samples."""
    found = case.statistic(target.subject, target.statistic)
    if found is None:
        return ""
    subject = "" if target.subject == OURS else f"{target.subject}: "
    subject += "p99 " if target.statistic == "p99" else ""
    if target.of is None:
        sign = "met" if found <= target.at_most else "MISSED"
        return f"{subject}{_number(found)} of {target.at_most:g} {case.unit}: {sign}"
    other = case.statistic(target.of, target.of_statistic)
    if other is None:
        return f"{subject}{target.of} none" if target.of in case.errors else ""
    ratio = found / other if other else float("inf")
    whose = "the median" if target.of == target.subject else target.of
    return (
        f"{subject}{ratio:.2f} of {whose}, {target.at_most:g} allowed: {'met' if ratio <= target.at_most else 'MISSED'}"
    )


def write_json(path: Path, cases: Sequence[Case], where: str) -> None:
    """Write all samples, in seconds, bytes or counts, with the targets."""
    found = [asdict(case) | {"verdicts": [verdict(case, target) for target in case.targets]} for case in cases]
    path.write_text(json.dumps({"machine": where, "units": UNITS, "cases": found}, indent=1) + "\n")
