"""Wall and processor time of stages, and what else the machine did meanwhile."""

from __future__ import annotations

import os
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

# Cores that others may take before wall seconds are called loaded: idle systems take a little.
_MOST_OF_OTHERS = 0.1


class Nanoseconds(NamedTuple):
    """Time on the wall, and of the processor over all threads of this process."""

    wall: int = 0
    processor: int = 0

    @classmethod
    def now(cls) -> Nanoseconds:
        """The clocks' readings, of use in differences alone."""
        return cls(time.perf_counter_ns(), time.process_time_ns())

    def minus(self, other: Nanoseconds) -> Nanoseconds:
        """What passed from `other` to here."""
        return Nanoseconds(self.wall - other.wall, self.processor - other.processor)

    def plus(self, other: Nanoseconds) -> Nanoseconds:
        """Both together."""
        return Nanoseconds(self.wall + other.wall, self.processor + other.processor)

    @property
    def seconds(self) -> dict[str, float]:
        """The two as "seconds" and "processor seconds"."""
        return {"seconds": self.wall / 1e9, "processor seconds": self.processor / 1e9}


class StageClock:
    """Time of named stages, which may lie within one another.

    Attributes:
        whole: name -> time of a stage with all that lies within it.
        own: name -> the same without the stages within it: never negative, as a difference of
            separate runs can be, and all together they are the outermost stage.
    """

    def __init__(self, synchronise: Callable[[], None] = lambda: None) -> None:
        """`synchronise` waits for the device."""
        self._synchronise = synchronise
        self._within = [Nanoseconds()]  # of each open stage: what the stages in it took
        self.whole: dict[str, Nanoseconds] = defaultdict(Nanoseconds)
        self.own: dict[str, Nanoseconds] = defaultdict(Nanoseconds)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Adds the time of the `with` block to the stage."""
        self._synchronise()
        self._within.append(Nanoseconds())
        start = Nanoseconds.now()
        try:
            yield
            self._synchronise()
        finally:
            taken = Nanoseconds.now().minus(start)
            own = taken.minus(self._within.pop())
            self._within[-1] = self._within[-1].plus(taken)
            self.whole[name] = self.whole[name].plus(taken)
            self.own[name] = self.own[name].plus(own)

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, each call timed as the stage `name`."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            with self.stage(name):
                return function(*args, **kwargs)

        return timed


def medians(runs: Sequence[Mapping[str, Nanoseconds]]) -> dict[str, Nanoseconds]:
    """The median of every name over all runs, wall and processor each for itself."""
    return {
        name: Nanoseconds(
            *(int(statistics.median(each)) for each in zip(*(r[name] for r in runs), strict=True))
        )
        for name in runs[0]
    }


@dataclass(frozen=True)
class MachineLoad:
    """What a machine did during a measurement.

    Attributes:
        cores: logical processors.
        load_average: of the last minute (this program counts too).
        own: cores that this program and its ended children kept busy on average.
        others: cores that other programs kept busy; None where the system does not tell.
        stolen: cores that the host of this virtual machine gave to others; None as above.
    """

    cores: int
    load_average: float
    own: float
    others: float | None = None
    stolen: float | None = None

    @property
    def is_loaded(self) -> bool:
        """Whether others had so much of the machine that wall seconds say little."""
        if self.others is None or self.stolen is None:
            return self.load_average - self.own > 1
        return self.others + self.stolen > _MOST_OF_OTHERS

    def __str__(self) -> str:
        parts = [f"this program {self.own:.2f}"]
        if self.others is not None:
            parts += [f"others {self.others:.2f}", f"stolen by its host {self.stolen:.2f}"]
        verdict = "LOADED: compare processor seconds" if self.is_loaded else "quiet"
        return (
            f"machine: {verdict} (of {self.cores} cores: {', '.join(parts)}; "
            f"load average {self.load_average:.2f})"
        )

    @property
    def figures(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "is_loaded": self.is_loaded}


class MachineWatch:
    """Looks at the machine from its making on."""

    def __init__(self, stat: Path = Path("/proc/stat")) -> None:
        self._stat = stat
        self._begin = self._readings()

    def load(self) -> MachineLoad:
        """What the machine did until now."""
        readings = zip(self._begin, self._readings(), strict=True)
        wall, own, *system = (now - before for before, now in readings)
        others = stolen = None
        if system:
            others, stolen = max(0.0, system[0] - own) / wall, system[1] / wall
        return MachineLoad(
            os.cpu_count() or 1, os.getloadavg()[0], own / wall, others=others, stolen=stolen
        )

    def _readings(self) -> list[float]:
        """Seconds: wall, processor of this program; on Linux busy and stolen ones of all cores."""
        own = [time.perf_counter(), sum(os.times()[:4])]
        try:
            words = self._stat.read_text().split("\n", 1)[0].split()
        except OSError:
            return own
        # user, nice, system, idle, iowait, irq, softirq, steal: proc_stat(5).
        user, nice, system, _, _, irq, softirq, steal = map(int, words[1:9])
        ticks = (user + nice + system + irq + softirq, steal)
        return own + [each / os.sysconf("SC_CLK_TCK") for each in ticks]
