"""What a runtime may use of the machine, in the words of systemd.resource-control(5)."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Limits of a runtime as a whole. Each may be None: as the service manager has it."""

    memory_max: str | None = None
    """Bytes, with a suffix K, M, G or T, or a percentage: beyond it the kernel ends processes (``MemoryMax=``)."""
    memory_high: str | None = None
    """As `memory_max`: beyond it processes are slowed and reclaimed from (``MemoryHigh=``)."""
    cpu_quota: str | None = None
    """A percentage of one processor's time (``CPUQuota=``)."""
    tasks_max: str | None = None
    """How many processes and threads (``TasksMax=``)."""
    nice: int | None = None
    """-20, most favoured, to 19 (``Nice=``)."""
    properties: tuple[str, ...] = ()
    """Any other properties of the unit's [Service] section, each as ``KEY=VALUE``."""

    def options(self) -> dict[str, str | int | None]:
        """Return the limits that have an option of their own, by its name."""
        return {
            "--memory-max": self.memory_max,
            "--memory-high": self.memory_high,
            "--cpu-quota": self.cpu_quota,
            "--tasks-max": self.tasks_max,
            "--nice": self.nice,
        }

    def unit_properties(self) -> Iterator[str]:
        """Yield these limits as lines of a unit's [Service] section."""
        keys = ("MemoryMax", "MemoryHigh", "CPUQuota", "TasksMax", "Nice")
        yield from (
            f"{key}={value}" for key, value in zip(keys, self.options().values(), strict=True) if value is not None
        )
        yield from self.properties

    def for_systemd_alone(self) -> list[str]:
        """Return the options among these that ask for what only systemd can do."""
        return [
            option
            for option, value in (*self.options().items(), ("--property", self.properties or None))
            if value is not None and option != "--nice"
        ]
