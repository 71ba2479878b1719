"""Readers share, a writer is alone, and nobody waits for ever."""

from __future__ import annotations

import threading
import time

from kindred.indexer.guard import Guard


def test_a_reader_never_sees_half_a_change():
    guard, state, torn = Guard(), [0, 0], []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            with guard.reading():
                first = state[0]
                time.sleep(0.0002)
                if state[1] != first:
                    torn.append((first, state[1]))

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for n in range(1, 200):
        with guard.writing():
            state[0] = n
            time.sleep(0.0001)
            state[1] = n
    stop.set()
    for reader in readers:
        reader.join(30)
    assert not torn
    assert state == [199, 199]


def test_readers_share():
    guard, inside = Guard(), threading.Barrier(3, timeout=30)

    def read() -> None:
        with guard.reading():
            inside.wait()  # breaks unless all three are inside at once

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(30)
    assert not inside.broken


def test_a_reader_may_read_again_while_a_writer_waits():
    guard, wrote = Guard(), threading.Event()

    def write() -> None:
        with guard.writing():
            wrote.set()

    with guard.reading():
        writer = threading.Thread(target=write)
        writer.start()
        time.sleep(0.05)
        with guard.reading():
            assert not wrote.is_set()
    assert wrote.wait(30)
    writer.join(30)


def test_a_failure_inside_gives_the_turn_back():
    guard = Guard()
    for turn in (guard.reading, guard.writing):
        try:
            with turn():
                raise ValueError
        except ValueError:
            pass
    with guard.writing():
        pass
