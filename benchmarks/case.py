"""A case: samples of each contender, and the targets to compare them with."""

import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.peers.peer import UnansweredError

OURS = "mrmd-python"
BOXED = "mrmd-python, systemd"
OLDER = "mrmd-python 0.4.2"
BEFORE = "before"
BOXED_BEFORE = "before, systemd"
IPYKERNEL = "ipykernel"
SERVER = "jupyter_server"
XEUS = "xeus-python"
KERNEL = "mrmd-python[jupyter]"

# The factor that converts a sample, in seconds, bytes or counts, to a unit.
UNITS = {"ms": 1e3, "s": 1.0, "MB": 1e-6, "/s": 1.0}


@dataclass(frozen=True)
class Target:
    """An upper bound on a statistic of `subject`, relative to another contender's or in the case's unit."""

    at_most: float
    # The contender to compare with; None for a bound in the case's unit.
    of: str | None = None
    statistic: str = "median"
    of_statistic: str = "median"
    subject: str = OURS


@dataclass
class Case:
    """One row of the table."""

    measure: str
    name: str
    unit: str
    # By contender, in seconds, bytes or counts.
    samples: dict[str, list[float]]
    # Why a contender has no samples.
    errors: dict[str, str] = field(default_factory=dict)
    targets: Sequence[Target] = ()

    def statistic(self, contender: str, name: str) -> float | None:
        """Return the median or the p99 of a contender, in the case's unit, or None if it has no samples."""
        samples = self.samples.get(contender)
        if not samples:
            return None
        found = statistics.median(samples) if name == "median" else percentile(samples, 99)
        return found * UNITS[self.unit]


def percentile(samples: Sequence[float], percent: float) -> float:
    """Return the smallest sample that at least `percent` of the samples do not exceed."""
    ranked = sorted(samples)
    return ranked[max(0, -(-len(ranked) * int(percent) // 100) - 1)]


Contenders = Mapping[str, Callable[[], float]]


def interleave(
    measure: str,
    name: str,
    unit: str,
    rounds: int,
    contenders: Contenders,
    targets: Sequence[Target] = (),
    in_a_row: int = 1,
) -> Case:
    """Take `rounds` samples of each contender in turn, `in_a_row` at a time; skip a contender after it has failed.

    One at a time, A B C A B C, each contender finds the processor's caches filled by the others.
    """
    case = Case(measure, name, unit, {contender: [] for contender in contenders}, targets=targets)
    for _ in range(max(1, rounds // in_a_row)):
        for contender, sample in contenders.items():
            if contender in case.errors:
                continue
            try:
                case.samples[contender] += [sample() for _ in range(in_a_row)]
            except UnansweredError as error:
                case.errors[contender] = str(error)
                case.samples[contender] = []
    return case
