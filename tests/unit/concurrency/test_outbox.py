from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from hypothesis import given
from hypothesis import strategies as st

from metamcp.concurrency.outbox import Outbox

BOUND = 5.0


def test_items_come_out_in_their_order() -> None:
    box: Outbox[bytes] = Outbox(100)
    assert all(box.put(b"%d" % number) for number in range(10))
    assert [box.get(0) for _ in range(11)] == [b"%d" % number for number in range(10)] + [None]


def test_full_box_closes_itself_and_still_delivers_what_it_holds() -> None:
    box: Outbox[bytes] = Outbox(10)
    assert [box.put(b"x" * 6), box.put(b"y" * 6), box.put(b"z")] == [True, False, False]
    assert (box.closed, box.finished) == ("slow-consumer", False)
    assert [box.get(0), box.get(0)] == [b"x" * 6, None]
    assert box.finished


def test_item_above_the_limit_fits_an_empty_box() -> None:
    box: Outbox[bytes] = Outbox(10)
    assert box.put(b"x" * 1000)
    assert box.get(0) == b"x" * 1000
    assert box.put(b"y" * 10)


@given(st.lists(st.binary(max_size=6) | st.none(), max_size=30))
def test_box_never_holds_more_than_its_limit_nor_loses_what_it_took(steps: list[bytes | None]) -> None:
    box: Outbox[bytes] = Outbox(12)
    taken: list[bytes] = []
    given_out: list[bytes] = []
    for step in steps:
        if step is not None:
            taken += [step] if box.put(step) else []
        elif (item := box.get(0)) is not None:
            given_out.append(item)
        assert sum(map(len, taken)) - sum(map(len, given_out)) <= 12
    while (item := box.get(0)) is not None:
        given_out.append(item)
    assert given_out == taken


def test_close_wakes_a_waiting_reader_and_the_first_reason_stays() -> None:
    box: Outbox[bytes] = Outbox(10)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(box.get, BOUND)
        box.close("first")
        box.close("second")
        assert waiting.result(BOUND) is None
    assert (box.closed, box.finished, box.put(b"late")) == ("first", True, False)


def test_put_wakes_a_waiting_reader() -> None:
    box: Outbox[bytes] = Outbox(10)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(box.get, BOUND)
        box.put(b"item")
        assert waiting.result(BOUND) == b"item"


def test_silence_ends_the_wait_and_leaves_the_box_open() -> None:
    box: Outbox[bytes] = Outbox(10)
    assert box.get(0.001) is None
    assert (box.closed, box.finished) == (None, False)


def test_every_item_of_many_threads_is_delivered_once() -> None:
    box: Outbox[bytes] = Outbox(1_000_000)
    threads = [
        threading.Thread(target=lambda own: [box.put(b"%d-%d" % (own, n)) for n in range(250)], args=(own,))
        for own in range(8)
    ]
    for thread in threads:
        thread.start()
    got = [box.get(BOUND) for _ in range(2000)]
    for thread in threads:
        thread.join(BOUND)
    assert sorted(item for item in got if item) == sorted(b"%d-%d" % (own, n) for own in range(8) for n in range(250))
