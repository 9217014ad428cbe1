"""The order of requests, and the pace of visitors, without a server."""

import asyncio
import itertools
from types import SimpleNamespace

import pytest

pytest.importorskip("gradio", reason="gradio is not installed")

from frozenseg.web.limits import visitor_of
from frozenseg.web.pace import BURST, RATE, Pace
from frozenseg.web.turns import FairList


def event(name):
    client = SimpleNamespace(host=name[0])
    request = SimpleNamespace(client=client)
    return SimpleNamespace(name=name, request=request, session_hash="one")


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
    for number in range(20):
        waiting.append(event(f"b{number}"))
        waiting.append(event(f"a{8 + number}"))
        while not any(name.startswith(f"b{number}") for name in served[-1:]):
            served.append(waiting.pop(0).name)
    assert all(first[0] != second[0] for first, second in itertools.pairwise(served))


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
