"""Seconds of stages: nested ones count once, threads do not mix, nothing runs by default."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from frozenseg.progress import StageSeconds, stage


def test_a_stage_within_another_comes_off_it():
    clock, start = StageSeconds(), time.perf_counter()
    with clock.running("model"):
        time.sleep(0.002)
        with stage("post-processing"), stage("deeper"):
            time.sleep(0.004)
    with stage("outside"):
        time.sleep(0.004)
    assert set(clock.seconds) == {"model", "post-processing", "deeper"}
    assert clock.seconds["deeper"] >= 0.004
    assert 0 <= clock.seconds["post-processing"] < clock.seconds["deeper"]
    assert sum(clock.seconds.values()) <= time.perf_counter() - start


def test_another_thread_takes_nothing_off():
    clock = StageSeconds()

    def write():
        with clock.running("writing"):
            time.sleep(0.02)

    with ThreadPoolExecutor(1) as pool, clock.running("model"):
        pool.submit(write).result()
    assert min(clock.seconds.values()) >= 0.02


def test_waiting_for_items_is_a_stage_and_an_error_passes():
    clock = StageSeconds()

    def items():
        time.sleep(0.002)
        yield 1
        raise OSError("gone")

    found = []
    with pytest.raises(OSError, match="gone"):
        found.extend(clock.each("wait", items()))
    assert found == [1]
    assert clock.seconds["wait"] >= 0.002


def test_the_line_says_the_rate():
    clock = StageSeconds()
    clock.seconds |= {"loading": 1.0, "model": 2.25}
    line = clock.line(3, "image")
    assert line.startswith("3 images in ")
    assert line.endswith(" a second: loading 1.0 s, model 2.2 s")
