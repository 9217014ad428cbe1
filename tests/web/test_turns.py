"""The order of requests, and the pace of visitors, without a server."""

import asyncio
import itertools
from collections import Counter
from types import SimpleNamespace

import pytest

pytest.importorskip("gradio", reason="gradio is not installed")

from frozenseg.web.limits import visitor_of
from frozenseg.web.pace import BURST, RATE, Pace
from frozenseg.web.turns import FairList


def event(name, seconds=1.0):
    """A request of the visitor `name` without its last letter, that computes so long."""
    client = SimpleNamespace(host=name[:-1])
    request = SimpleNamespace(client=client)
    return SimpleNamespace(name=name, request=request, session_hash="one", run_time=seconds)


def take(waiting):
    """The name of the next one, taken as gradio takes it."""
    first = waiting[0]
    waiting.remove(first)
    return first.name


@pytest.mark.parametrize(
    ("arrivals", "order"),
    [
        ("a1 a2 a3", "a1 a2 a3"),
        ("a1 b1 c1", "a1 b1 c1"),
        ("a1 a2 a3 b1 c1 b2", "a1 b1 c1 a2 b2 a3"),
        ("a1 b1 b2 c1 a2 c2", "a1 b1 c1 b2 a2 c2"),
    ],
)
def test_the_second_request_of_a_visitor_comes_after_the_first_of_all(arrivals, order):
    waiting = FairList()
    for name in arrivals.split():
        waiting.append(event(name))
    assert " ".join(each.name for each in waiting) == order


def test_who_floods_delays_another_by_one_turn_at_most():
    waiting, served = FairList(), []
    for number in range(8):
        waiting.append(event(f"a{number}"))
    for _ in range(20):
        waiting.append(event("b0"))
        waiting.append(event("a9"))
        while served[-1:] != ["b0"]:
            served.append(take(waiting))
        served.append(take(waiting))
    assert all(first[0] != second[0] for first, second in itertools.pairwise(served))


@pytest.mark.parametrize(("long", "waits"), [(1.0, 1), (15.0, 1), (15.0, 8)])
def test_who_asks_for_much_waits_longer_and_others_hardly(long, waits):
    waiting = FairList()
    visitors = [f"v{number} " for number in range(20)]
    seconds, turns = Counter(), Counter()
    for name in visitors:
        waiting.append(event(name))
    for _ in range(waits):
        waiting.append(event("heavy ", long))
    while sum(seconds.values()) < 2000:
        name = take(waiting)
        used = long if name == "heavy " else 1.0
        seconds[name] += used
        turns[name] += 1
        waiting.append(event(name, used))  # and again at once
    fair = sum(seconds.values()) / 21
    assert all(abs(each - fair) <= long + 1 for each in seconds.values())
    assert min(turns[name] for name in visitors) >= 0.8 * (2000 / 20)


def test_the_past_is_forgotten_when_others_could_have_had_as_much():
    waiting = FairList()
    for number in range(1000):  # one after the other: nobody waited
        waiting.append(event(f"v{number} ", 100.0))
        take(waiting)
    assert len(waiting._had) <= 2
    for name in ("v999 ", "a ", "b ", "c "):  # the last three came while it had 100 seconds
        waiting.append(event(name))
    served = []
    while served[-1:] != ["v999 "]:
        served.append(take(waiting))
        waiting.append(event(served[-1]))
    assert 220 <= len(served) <= 310  # until each of them has had as much as it, or nearly
    assert len(waiting._had) == 4


def test_who_has_left_takes_no_turn_and_no_time():
    waiting = FairList()
    for name in ("a1", "b1", "a2"):
        waiting.append(event(name, 0.0))
    gone = next(each for each in waiting if each.name == "b1")
    waiting.remove(gone)
    waiting.append(event("b2"))
    assert [take(waiting) for _ in range(3)] == ["a1", "b2", "a2"]


@pytest.mark.parametrize(
    ("address", "visitor"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unix", "unix"),
    ],
)
def test_who_a_visitor_is(address, visitor):
    assert visitor_of(SimpleNamespace(client=SimpleNamespace(host=address))) == visitor
    assert visitor_of(SimpleNamespace(client=None)) == ""


def test_only_programs_of_this_machine_are_told_apart_by_more_than_the_address():
    def request(host):
        return SimpleNamespace(client=SimpleNamespace(host=host))

    assert visitor_of(request("10.0.0.1"), "page 1") == "10.0.0.1"
    assert visitor_of(request("127.0.0.1"), "page 1") != visitor_of(request("127.0.0.1"), "page 2")


def test_pace(monkeypatch):
    waits, now = [], [0.0]

    async def sleep(seconds):
        waits.append(round(seconds, 6))

    monkeypatch.setattr("frozenseg.web.pace.time.monotonic", lambda: now[0])
    monkeypatch.setattr("frozenseg.web.pace.asyncio.sleep", sleep)

    async def ask(pace, *visitors):
        for visitor in visitors:
            await pace.wait(visitor, BURST / 2)

    pace = Pace()
    asyncio.run(ask(pace, *"aaaab"))
    assert waits == [0, 0, BURST / 2 / RATE, BURST / RATE, 0]
    now[0] = 100 * BURST / RATE
    asyncio.run(ask(pace, *"aaa"))
    assert waits[5:] == [0, 0, BURST / 2 / RATE]
