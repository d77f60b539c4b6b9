"""A chart of each measure: a bar for each contender, its p99 as a whisker."""

from collections.abc import Sequence
from pathlib import Path

from benchmarks.case import OURS, Case


def write(directory: Path, cases: Sequence[Case], where: str) -> list[Path]:
    """Write a PNG for each measure into `directory`; return the files."""
    import matplotlib as mpl

    mpl.use("Agg")
    written = []
    for measure in dict.fromkeys(case.measure for case in cases):
        path = directory / f"{measure.replace(' ', '_')}.png"
        _draw(path, [case for case in cases if case.measure == measure], f"{measure}\n{where}")
        written.append(path)
    return written


def _draw(path: Path, cases: Sequence[Case], title: str) -> None:
    from matplotlib import pyplot as plt

    heights = [0.5 + 0.3 * len(case.samples) for case in cases]
    figure, axes = plt.subplots(
        len(cases), 1, figsize=(9, sum(heights) + 1), squeeze=False, gridspec_kw={"height_ratios": heights}
    )
    for case, (axis,) in zip(cases, axes, strict=True):
        names = [name for name in reversed(case.samples) if case.samples[name]]
        medians = [case.statistic(name, "median") or 0.0 for name in names]
        tails = [
            max(0.0, (case.statistic(name, "p99") or 0.0) - median) for name, median in zip(names, medians, strict=True)
        ]
        colors = ["tab:orange" if name.startswith(OURS) and "0." not in name else "tab:gray" for name in names]
        axis.barh(names, medians, xerr=[[0.0] * len(tails), tails], color=colors, error_kw={"elinewidth": 0.8})
        axis.set_xlabel(case.unit, fontsize=8)
        axis.set_title(case.name, fontsize=9, loc="left")
        axis.tick_params(labelsize=8)
    figure.suptitle(title, fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    plt.close(figure)
