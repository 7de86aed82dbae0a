from __future__ import annotations

from datetime import UTC, datetime
from email.utils import formatdate
from math import isfinite

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reflow.rag.provider.retry_after import retry_after

NOW = 1_800_000_000.0
"""Fri, 15 Jan 2027 08:00:00 GMT"""


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after-ms": "20"}, 0.02),
        ({"retry-after-ms": "1500.5"}, 1.5005),
        ({"retry-after-ms": "0"}, 0.0),
        ({"retry-after-ms": "soon", "retry-after": "3"}, 3.0),
        ({"retry-after-ms": "250", "retry-after": "60"}, 0.25),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": " 7 "}, 7.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": ".5"}, 0.5),
        ({"retry-after": "12."}, 12.0),
        ({"retry-after": "Fri, 15 Jan 2027 08:00:30 GMT"}, 30.0),
        ({"retry-after": "Friday, 15-Jan-27 08:00:30 GMT"}, 30.0),  # RFC 850
        ({"retry-after": "Fri Jan 15 08:00:30 2027"}, 30.0),  # asctime, which is in UTC here
        ({"retry-after": "Fri, 15 Jan 2027 09:00:30 +0100"}, 30.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 0.0),
        # The provider's clock is an hour fast: what counts is the distance on its own clock.
        ({"retry-after": "Fri, 15 Jan 2027 09:00:30 GMT", "date": "Fri, 15 Jan 2027 09:00:00 GMT"}, 30.0),
        ({"retry-after": "Fri, 15 Jan 2027 08:00:30 GMT", "date": "nonsense"}, 30.0),
        # What can't be read says nothing.
        ({"retry-after": ""}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": "1e3"}, None),
        ({"retry-after": "5, 10"}, None),
        ({"retry-after": "٣"}, None),
        ({"retry-after": "1_000"}, None),
        ({"retry-after": "Fri, 35 Jan 2027 08:00:30 GMT"}, None),
        ({"retry-after": "Fri, 15 Jan 99999 08:00:30 GMT"}, None),
        ({"retry-after": "9" * 400}, None),
    ],
)
def test_a_pause_is_read_in_each_of_its_forms(headers: dict[str, str], seconds: float | None) -> None:
    found = retry_after(headers, NOW)
    assert found == (None if seconds is None else pytest.approx(seconds))


@given(st.floats(0, 10_000), st.floats(0, 4e9))
def test_a_date_says_the_distance_to_it(ahead: float, now: float) -> None:
    text = formatdate(int(now + ahead), usegmt=True)
    assert retry_after({"retry-after": text}, now) == pytest.approx(max(0.0, int(now + ahead) - now), abs=1e-3)


@given(st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms", "date"]), st.text(max_size=60)))
@example({"retry-after": "Mon, 01 Jan 0001 00:00:00 +2359"})
@example({"retry-after": "Fri, 31 Dec 9999 23:59:59 -2359"})
@example({"retry-after": "Fri, 15 Jan 2027 08:00:30 +9999"})
@example({"retry-after": "\x00"})
@example({"retry-after": "," * 50})
def test_nonsense_is_a_pause_or_none(headers: dict[str, str]) -> None:
    found = retry_after(headers, NOW)
    assert found is None or (found >= 0 and isfinite(found))


def test_the_epoch_of_the_examples() -> None:
    assert datetime.fromtimestamp(NOW, UTC) == datetime(2027, 1, 15, 8, tzinfo=UTC)
