"""Times add up and are never negative; the load is what /proc/stat says."""

from __future__ import annotations

import time

import pytest

from frozenseg.benchmarking import clock as module
from frozenseg.benchmarking.clock import MachineLoad, MachineWatch, Nanoseconds, StageClock, medians


def test_a_stage_within_another_is_not_counted_twice():
    clock = StageClock()
    with clock.stage("total"):
        for _ in range(3):
            with clock.stage("encoder"):
                time.sleep(0.002)
                with clock.stage("attention"):
                    time.sleep(0.004)
        clock.wrap("decoder", time.sleep)(0.001)
    for unit in ("wall", "processor"):
        whole, own = ({n: getattr(t, unit) for n, t in d.items()} for d in (clock.whole, clock.own))
        assert sum(own.values()) == whole["total"]  # to the nanosecond
        assert own["encoder"] == whole["encoder"] - whole["attention"]
        assert min(own.values()) >= 0
    assert clock.own["attention"].wall >= 12e6
    assert clock.own["attention"].processor < clock.own["attention"].wall  # it slept


def test_a_stage_that_fails_leaves_the_clock_right():
    clock = StageClock()
    with clock.stage("total"):
        with pytest.raises(KeyError), clock.stage("broken"):
            raise KeyError
        with clock.stage("next"):
            pass
    assert sum(t.wall for t in clock.own.values()) == clock.whole["total"].wall


def test_the_device_is_waited_for_at_both_ends():
    calls = []
    with StageClock(lambda: calls.append("wait")).stage("a"):
        calls.append("work")
    assert calls == ["wait", "work", "wait"]


def test_medians_of_wall_and_processor_are_each_their_own():
    runs = [{"a": Nanoseconds(*pair)} for pair in ((1, 30), (2, 10), (9, 20))]
    assert medians(runs) == {"a": Nanoseconds(2, 20)}


def _watch(monkeypatch, tmp_path, before, after, own):
    """The load between two readings 10 seconds apart, in which this program took `own` seconds."""
    path, now = tmp_path / "stat", iter([100.0, 110.0])
    used = iter([(0.0, 0.0, 0.0, 0.0, 0.0), (own, 0.0, 0.0, 0.0, 0.0)])
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(now))
    monkeypatch.setattr(module.os, "times", lambda: next(used))
    monkeypatch.setattr(module.os, "sysconf", lambda _: 100)
    monkeypatch.setattr(module.os, "getloadavg", lambda: (3.5, 0.0, 0.0))
    monkeypatch.setattr(module.os, "cpu_count", lambda: 4)
    if before:
        path.write_text(f"cpu  {before}\ncpu0 1 1 1\n")
    watch = MachineWatch(path)
    if after:
        path.write_text(f"cpu  {after}\ncpu0 1 1 1\n")
    return watch.load()


def test_load_of_others_and_of_the_host(monkeypatch, tmp_path):
    # user, nice, system, idle, iowait, irq, softirq, steal, guests in hundredths of a second.
    load = _watch(
        monkeypatch, tmp_path, "100 0 0 0 0 0 0 50 0 0", "1900 100 80 900 20 10 10 250 0 0", 12
    )
    assert (load.own, load.others, load.stolen) == pytest.approx((1.2, 0.8, 0.2))
    assert load.is_loaded
    assert load.figures["is_loaded"]
    assert str(load) == (
        "machine: LOADED: compare processor seconds (of 4 cores: this program 1.20, others 0.80, "
        "stolen by its host 0.20; load average 3.50)"
    )


def test_a_machine_of_ones_own_is_quiet(monkeypatch, tmp_path):
    load = _watch(monkeypatch, tmp_path, "0 0 0 0 0 0 0 0 0 0", "1195 0 5 900 0 0 0 1 0 0", 12)
    assert load.others == 0.0
    assert not load.is_loaded
    assert str(load).startswith("machine: quiet")


def test_where_the_system_does_not_tell_the_load_average_does(monkeypatch, tmp_path):
    load = _watch(monkeypatch, tmp_path, "", "", 12)
    assert load.others is None
    assert load.stolen is None
    assert load.is_loaded  # 3.5 with 1.2 of our own
    assert "others" not in str(load)
    assert not MachineLoad(4, 1.5, 1.2).is_loaded
