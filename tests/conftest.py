"""What all tests share: threads, seeds, folders of recorded values, the count of golden tests."""

from __future__ import annotations

import logging
import os
import random
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parents[1]
# Of torch, here and in the programs that tests start; set before torch is imported.
# Workers of pytest-xdist share the cores: one thread each.
USUAL_THREADS = "1" if "PYTEST_XDIST_WORKER" in os.environ else "2"
THREADS = int(os.environ.get("OMP_NUM_THREADS", USUAL_THREADS))
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(THREADS)))
# The same examples in every run, however slow the machine is.
settings.register_profile(
    "project", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("project")
# Threads that wait without spinning: much faster where other programs use the cores too.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture(autouse=True)
def _repeatable() -> None:
    """Seeds every generator and sets the threads of torch, where the test module imported it."""
    random.seed(0)
    np.random.seed(0)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(0)
        if torch.get_num_threads() != THREADS:
            torch.set_num_threads(THREADS)


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """A command run in this process leaves no handlers; they hold streams of its test."""
    loggers = [logging.getLogger(name) for name in (None, "fvcore", "detectron2", "frozenseg")]
    before = [(log, log.handlers[:], log.level, log.propagate) for log in loggers]
    yield
    for log, handlers, level, propagate in before:
        log.handlers[:], log.propagate = handlers, propagate
        log.setLevel(level)
    detectron2 = sys.modules.get("detectron2.utils.logger")
    if detectron2 is not None:
        detectron2.setup_logger.cache_clear()  # or the next command's would return without them


@pytest.fixture(autouse=True, scope="session")
def _no_new_files() -> Iterator[None]:
    """Tests write into temporary folders: a name that is new in this folder is an error."""
    before = set(os.listdir(ROOT))
    yield
    new = {name for name in set(os.listdir(ROOT)) - before if not name.startswith(".")}
    assert not new, f"tests wrote {sorted(new)} into {ROOT}"


@pytest.fixture
def one_thread(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One thread here and in the programs that the test starts.

    For results of several processes that must be equal: sums over other numbers of threads round
    differently, and rounding can flip a mask's threshold or a match.
    """
    import torch

    for name in THREAD_VARIABLES:
        monkeypatch.setenv(name, "1")
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(THREADS)


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with the material that is not in this repository; the test is skipped without it.

    `$FROZENSEG_SHARED`, or `shared/` beside the repository or in it.
    """
    given = os.environ.get("FROZENSEG_SHARED")
    candidates = [Path(given)] if given else [ROOT.parent / "shared", ROOT / "shared"]
    for folder in candidates:
        if (folder / "golden").is_dir():
            return folder
    pytest.skip(f"no golden/ in {' or '.join(map(str, candidates))} (set FROZENSEG_SHARED)")


@pytest.fixture(scope="session")
def golden_dir(shared_dir: Path) -> Path:
    """The recorded reference values; mark the tests that read them with `pytest.mark.golden`."""
    return shared_dir / "golden"


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Marks the reports of golden tests; unlike `keywords`, folder names cannot confuse this."""
    outcome = yield
    if item.get_closest_marker("golden"):
        outcome.get_result().user_properties.append(("golden", True))  # type: ignore[attr-defined]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Prints how many golden tests ran; they are skipped where the recorded values are absent."""
    counts: Counter[str] = Counter()
    for outcome, reports in terminalreporter.stats.items():
        for report in reports:
            if ("golden", True) in getattr(report, "user_properties", []):
                counts[outcome] += bool(outcome)  # "" are the set-ups and tear-downs that passed
    parts = [f"{counts['passed']} passed", f"{counts['skipped']} skipped"]
    parts += [f"{counts[name]} {name}" for name in sorted(counts) if name in ("failed", "error")]
    terminalreporter.write_line(f"golden tests: {', '.join(parts)}")
