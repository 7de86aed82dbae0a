"""Standing searches against brute force: what they find, and whom a commit wakes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from reflow.schema import METRICS
from reflow.search.filters import Filter, parse
from reflow.search.metric import Metric, Place, VectorChange, VectorQuery, scores
from reflow.search.standing import StandingSearches, VectorRead

FILTERS: list[Filter | None] = [
    None,
    parse({"tag": "a"}),
    parse({"tag": {"$in": ["a", "b"]}, "n": {"$gte": 2}}),
    parse({"n": {"$lt": 2}}),
    parse({"$or": [{"tag": "b"}, {"n": 0}]}),
]
PLACES: list[Place] = [(7, 1), (7, 2)]
DIMS = 3

# Few directions and many lengths, so that scores come close together, and from tiny to beyond what a square holds.
_PART = st.sampled_from([-1.0, -0.25, 0.0, 0.25, 0.5, 1.0])
_LENGTH = st.sampled_from([1e-30, 1e-3, 1.0, 1.0000001, 3.0, 1e4, 1e30])
_VECTORS = st.tuples(st.lists(_PART, min_size=DIMS, max_size=DIMS), _LENGTH).map(
    lambda pair: np.array(pair[0], dtype=np.float32) * np.float32(pair[1])
)
_METADATA = st.fixed_dictionaries({}, optional={"tag": st.sampled_from("abc"), "n": st.integers(0, 3)})
_CHANGES = st.tuples(
    st.sampled_from([PLACES[0], PLACES[0], PLACES[0], PLACES[1]]),
    st.integers(1, 30),
    st.one_of(_VECTORS, _VECTORS, st.none()),
    st.sampled_from([0, 0, 0, 1]),
    _METADATA,
).map(lambda parts: VectorChange(parts[0], parts[1], parts[2], space=parts[3], metadata=parts[4]))
_GROUPS = st.lists(st.lists(_CHANGES, min_size=1, max_size=10), min_size=6, max_size=16)
_QUERIES = st.lists(
    st.tuples(st.integers(1, 3), _VECTORS, st.sampled_from(FILTERS), st.sampled_from([0, 0, 1])).map(
        lambda parts: VectorQuery(parts[0], parts[1], filter=parts[2], space=parts[3])
    ),
    min_size=1,
    max_size=8,
)

Model = dict[tuple[Place, int], VectorChange]


def usable(metric: Metric, vector: Any) -> bool:
    return metric != "cosine" or bool(np.any(vector))


def fresh(model: Model, place: Place, metric: Metric, query: VectorQuery, depth: int) -> list[tuple[float, int]]:
    rows = [
        change
        for (where, _), change in model.items()
        if where == place
        and change.space == query.space
        and (query.filter is None or query.filter.matches(change.metadata))
    ]
    if not rows or query.vector is None:
        return []
    found = scores(metric, np.stack([row.vector for row in rows if row.vector is not None]), query.vector)
    ranking = sorted((-float(score), row.seq) for score, row in zip(found, rows, strict=True))
    return [(-negative, seq) for negative, seq in ranking[:depth]]


class Harness:
    """Owners who run their searches again whenever they are woken, and only then."""

    def __init__(self, metric: Metric, queries: Sequence[VectorQuery], most_hits: int) -> None:
        self.metric: Metric = metric
        self.standing: StandingSearches[int] = StandingSearches(most_hits)
        self.model: Model = {}
        self.queries = [(PLACES[number % 3 // 2], query) for number, query in enumerate(queries)]
        self.shown: list[list[tuple[float, int]]] = [[] for _ in queries]
        self.woken: set[int] = set()
        for owner in range(len(queries)):
            self.run(owner)

    def run(self, owner: int) -> None:
        place, query = self.queries[owner]
        known = self.standing.found(place, query)
        if known is None:
            found = fresh(self.model, place, self.metric, query, 2 * query.limit)
            known = found, len(found) < 2 * query.limit
        self.shown[owner] = known[0][: query.limit]
        self.standing.register(owner, [VectorRead(place, self.metric, query, 0, *known)])

    def commit(self, changes: Sequence[VectorChange]) -> None:
        for change in changes:
            if change.vector is None:
                self.model.pop((change.place, change.seq), None)
            else:
                self.model[change.place, change.seq] = change
        self.woken = self.standing.publish(changes)
        for owner, (place, query) in enumerate(self.queries):
            now = fresh(self.model, place, self.metric, query, query.limit)
            if owner not in self.woken:
                assert self.shown[owner] == now, "a live result is out of date and nobody was told"
            else:
                self.run(owner)
                assert self.shown[owner] == now

    def drop_all(self) -> None:
        for owner in range(len(self.queries)):
            self.standing.remove(owner)
        assert (len(self.standing), self.standing.hits_kept) == (0, 0), "what nobody follows is forgotten"


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(METRICS), _QUERIES, _GROUPS, st.sampled_from([0, 20, 1 << 20]))
def test_rule_6_a_standing_search_equals_a_fresh_one(
    metric: Metric, queries: Sequence[VectorQuery], groups: Sequence[Sequence[VectorChange]], most_hits: int
) -> None:
    harness = Harness(metric, [query for query in queries if usable(metric, query.vector)], most_hits)
    for group in groups:
        harness.commit([change for change in group if change.vector is None or usable(metric, change.vector)])
    harness.drop_all()


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(METRICS), _QUERIES, _GROUPS)
def test_nobody_is_woken_for_nothing(
    metric: Metric, queries: Sequence[VectorQuery], groups: Sequence[Sequence[VectorChange]]
) -> None:
    harness = Harness(metric, [query for query in queries if usable(metric, query.vector)], 1 << 20)
    for group in groups:
        changes = [change for change in group if change.vector is None or usable(metric, change.vector)]
        before = [list(shown) for shown in harness.shown]
        harness.commit(changes)
        assert harness.woken == {owner for owner, shown in enumerate(harness.shown) if shown != before[owner]}


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(METRICS), _QUERIES, _GROUPS)
def test_rule_2_a_search_in_a_read_set_is_concerned_where_its_result_changes(
    metric: Metric, queries: Sequence[VectorQuery], groups: Sequence[Sequence[VectorChange]]
) -> None:
    model: Model = {}
    for group in groups:
        changes = {
            (c.place, c.seq): c for c in group if c.vector is None or usable(metric, c.vector)
        }  # of one commit: each document once
        before = dict(model)
        for key, change in changes.items():
            model.pop(key, None)
            if change.vector is not None:
                model[key] = change
        for number, query in enumerate(queries):
            if not usable(metric, query.vector):
                continue
            place = PLACES[number % 3 // 2]
            found = fresh(before, place, metric, query, query.limit)
            read = VectorRead(place, metric, query, 0, found, len(found) < query.limit)
            left = any((place, seq) in changes for _, seq in found)
            if found != fresh(model, place, metric, query, query.limit):
                assert left or read.concerned(list(changes.values()))
            elif not left:
                assert not read.concerned(list(changes.values()))


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(METRICS), _QUERIES, _GROUPS, st.lists(st.integers(0, 3), min_size=16, max_size=16))
def test_rule_6_a_search_that_took_longer_than_a_commit_is_followed_too(
    metric: Metric, queries: Sequence[VectorQuery], groups: Sequence[Sequence[VectorChange]], delays: Sequence[int]
) -> None:
    """Results arrive some commits late; only those that still hold are registered as valid."""
    model: Model = {}
    wanted = [query for query in queries if usable(metric, query.vector)]
    standing: StandingSearches[int] = StandingSearches(1 << 20)
    states: list[Model] = [{}]
    log: list[list[VectorChange]] = []
    valid: dict[int, list[tuple[float, int]]] = {}
    for number, group in enumerate(groups):
        changes = [change for change in group if change.vector is None or usable(metric, change.vector)]
        for change in changes:
            model.pop((change.place, change.seq), None)
            if change.vector is not None:
                model[change.place, change.seq] = change
        for owner in standing.publish(changes):
            valid.pop(owner, None)
        states.append(dict(model))
        log.append(changes)
        for owner, query in enumerate(wanted):
            place = PLACES[owner % 3 // 2]
            if number >= owner and owner not in valid:
                then = max(0, number + 1 - delays[number])
                found = fresh(states[then], place, metric, query, 2 * query.limit)
                read = VectorRead(place, metric, query, then, found, len(found) < 2 * query.limit)
                hits = {seq for _, seq in found[: query.limit]}
                outdated = any(
                    read.concerned(past) or any(change.place == place and change.seq in hits for change in past)
                    for past in log[then:]
                )
                standing.register(owner, [read], late=then <= number, outdated=outdated)
                if not outdated:
                    valid[owner] = found[: query.limit]
            if owner in valid:
                assert valid[owner] == fresh(model, place, metric, query, query.limit)
            known = standing.found(place, query)
            if known is not None:
                assert known[0][: query.limit] == fresh(model, place, metric, query, query.limit)
