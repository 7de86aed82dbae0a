"""How much of an index's work is done before others have the event loop."""

from __future__ import annotations

from reflow.limits import DEFAULT
from reflow.search.records import records_per_turn


def test_long_vectors_are_fewer_to_a_turn() -> None:
    turns = [records_per_turn(DEFAULT, dims) for dims in (0, 1, 384, 1024)]
    assert turns == [DEFAULT.records_per_turn] * 4
    for dims in (1025, 3072, 20_000):
        turn = records_per_turn(DEFAULT, dims)
        assert 1 <= turn < DEFAULT.records_per_turn
        assert turn * dims <= DEFAULT.records_per_turn * 1024
    assert records_per_turn(DEFAULT, 10**9) == 1
