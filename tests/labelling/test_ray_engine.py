"""How blocks are handed out, on a cluster whose time is counted and not spent."""

from __future__ import annotations

import cProfile

import pytest

from frozenseg.labelling.engine import Outcome
from frozenseg.labelling.ray_engine import MOST_ATTEMPTS, LostError, Schedule
from tools.label_trials import TimedCluster


class FakeCluster(TimedCluster):
    """Workers that take 8 to 16 seconds for a block, and 20 to start; some die."""

    starting = 20.0

    def __init__(self, *, dies=0.0, kills=(), starts=True):
        """`dies`: share of blocks; `kills`: blocks that end every worker."""
        super().__init__(images=240)
        self.dies, self.kills, self.starts = dies, kills, starts
        self.most = 0

    def submit(self, worker: int, block: int) -> int:
        task = super().submit(worker, block)
        self.most = max(self.most, len(self.blocks))
        return task

    def result(self, task: int) -> Outcome | None:
        found = super().result(task)
        if found is None and not self.starts:
            raise LostError("no such image")
        if found and (found.block in self.kills or self.random.random() < self.dies):
            raise LostError("worker died")
        return found

    def run(self, blocks, workers: int) -> list[Outcome]:
        return list(Schedule(self, blocks, workers).outcomes())


def test_every_block_once_though_workers_die():
    cluster = FakeCluster(dies=0.1)
    outcomes = cluster.run(range(300), 5)
    assert sorted(outcome.block for outcome in outcomes) == list(range(300))
    assert not any(outcome.error for outcome in outcomes)
    assert cluster.most == 5


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_a_block_that_kills_every_worker_is_given_up_and_takes_no_other_with_it(workers):
    outcomes = FakeCluster(kills=(1, 4)).run(range(6), workers)
    assert sorted(outcome.block for outcome in outcomes) == list(range(6))
    given_up = {outcome.block for outcome in outcomes if "died each time" in outcome.error}
    assert given_up == {1, 4}


def test_where_no_worker_starts_the_job_stops():
    cluster = FakeCluster(starts=False)
    [outcome] = cluster.run(range(6), 2)
    assert outcome.stop
    assert "no worker starts: no such image" in outcome.error
    assert next(cluster.numbers) == 2 * MOST_ATTEMPTS


def test_blocks_are_not_asked_for_before_a_worker_is_ready():
    asked = []
    blocks = (asked.append(i) or i for i in range(100))
    stream = Schedule(FakeCluster(), blocks, 3).outcomes()
    for _ in range(10):
        next(stream)
    assert len(asked) <= 13


def test_a_thousand_workers_stay_busy():
    """A twentieth of 100 million images, in blocks of 256 (docs/label.md has the whole)."""
    blocks, workers = 20_000, 1000
    cluster = FakeCluster(dies=0.001)
    assert len(cluster.run(range(blocks), workers)) == blocks
    assert cluster.busy / (workers * (cluster.clock - 20)) > 0.9


def test_what_the_driver_does_for_a_block_does_not_grow_with_the_workers():
    def calls_per_block(workers: int) -> float:
        profile, blocks = cProfile.Profile(), 20 * workers
        profile.runcall(FakeCluster().run, range(blocks), workers)
        return sum(entry.callcount for entry in profile.getstats()) / blocks

    assert calls_per_block(500) == pytest.approx(calls_per_block(5), rel=0.1)
