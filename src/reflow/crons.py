"""Work that comes again and again: crons, and the table that tells how they go.

crons = rf.Crons()
crons.interval("forget old sessions", minutes=5).run(forget, days=30)
crons.daily("report", hour=7, tz="Europe/Berlin").run(report, kind="short")
app = rf.App(modules=[...], crons=crons)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, ParamSpec, Protocol, get_args
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from reflow.errors import DefinitionError
from reflow.functions import ActionFunction, Function, MutationFunction
from reflow.limits import DEFAULT
from reflow.schema import Index, Object, Table, missing

P = ParamSpec("P")

Weekday = Literal["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"]

_WEEKDAYS: tuple[str, ...] = get_args(Weekday)
_NAME_LENGTH = 100
_FIELDS = 5


class Schedule(Protocol):
    """When a cron runs. Times are milliseconds since 1970."""

    @property
    def text(self) -> str:
        """The schedule in words; two that run at the same times may differ."""
        ...

    def first(self, now: int) -> int:
        """The first time of a cron that is new."""
        ...

    def following(self, planned: int, now: int) -> tuple[int, int]:
        """The first time after `planned` that is not before `now`, and how many in between are before it."""
        ...


@dataclass(frozen=True, slots=True)
class Interval:
    """Every so many milliseconds, from the first deploy on."""

    period: int

    @property
    def text(self) -> str:
        """In the largest unit that fits."""
        for unit, length in (("h", 3_600_000), ("min", 60_000), ("s", 1000)):
            if self.period % length == 0:
                return f"every {self.period // length} {unit}"
        return f"every {self.period / 1000:g} s"

    def first(self, now: int) -> int:
        """At once."""
        return now

    def following(self, planned: int, now: int) -> tuple[int, int]:
        """The times of an interval stay a whole number of periods apart, however late a run was."""
        periods = max(1, -((planned - now) // self.period))
        return planned + periods * self.period, periods - 1


@dataclass(frozen=True, slots=True)
class Expression:
    """The times of a cron expression in a time zone."""

    fields: str
    tz: str

    @property
    def text(self) -> str:
        """The expression with its time zone."""
        return f"{self.fields} ({self.tz})"

    def first(self, now: int) -> int:
        """The next time after now."""
        return next(time for time in self._times(now) if time > now)

    def following(self, planned: int, now: int) -> tuple[int, int]:
        """Of the times that have passed at most `limits.cron_missed` are counted."""
        missed = 0
        for time in self._times(planned):
            if time >= now:
                return time, missed
            missed += 1
            if missed == DEFAULT.cron_missed:
                break
        return next(time for time in self._times(now - 1000) if time >= now), missed

    def _times(self, after: int) -> Iterator[int]:
        """The times after the second of a time. In the hour that comes twice, the first ones may be those of the
        hour before."""
        start = datetime.fromtimestamp(after // 1000, UTC if self.tz == "UTC" else ZoneInfo(self.tz))
        return (int(time.timestamp()) * 1000 for time in CronSim(self.fields, start))


def _interval(name: str, seconds: float, minutes: float, hours: float) -> Interval:
    period = round(1000 * (seconds + 60 * minutes + 3600 * hours))
    if period < 1000 * DEFAULT.cron_interval_seconds:
        raise DefinitionError(
            f"cron {name!r}: an interval must be at least limits.cron_interval_seconds = "
            f"{DEFAULT.cron_interval_seconds:g} s, got {period / 1000:g} s"
        )
    return Interval(period)


def _expression(name: str, fields: str, tz: str) -> Expression:
    parts = fields.split()
    if len(parts) != _FIELDS:
        raise DefinitionError(
            f"cron {name!r}: {fields!r} has {len(parts)} fields; write minute, hour, day of the month, month, day of "
            'the week, such as "*/5 * * * *"'
        )
    found = Expression(" ".join(parts), tz)
    try:
        ZoneInfo(tz)
    except (KeyError, ValueError, OSError):
        raise DefinitionError(f"cron {name!r}: no time zone {tz!r} is known; write one such as Europe/Berlin") from None
    try:
        found.first(0)
    except CronSimError as error:
        raise DefinitionError(f"cron {name!r}: {fields!r} is no cron expression: {error}") from None
    except StopIteration:
        raise DefinitionError(f"cron {name!r}: the time {fields!r} never comes") from None
    return found


def _within(name: str, what: str, value: int, first: int, last: int) -> int:
    if not first <= value <= last:
        raise DefinitionError(f"cron {name!r}: {what} must be {first} to {last}, got {value}")
    return value


@dataclass(slots=True)
class Defined:
    """A cron as it is defined: when and what."""

    name: str
    schedule: Schedule
    function: Function[..., Any] | None = None
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] | None = None


class CronTime:
    """When a cron runs; `run` says what."""

    def __init__(self, defined: Defined) -> None:
        self._defined = defined

    def run(
        self, function: MutationFunction[P, Any] | ActionFunction[P, Any], /, *args: P.args, **kwargs: P.kwargs
    ) -> None:
        """Runs `function` with these arguments each time. Nobody is signed in then.

        Raises DefinitionError for a query, and for a cron that runs something already.
        """
        if function.kind == "query":
            raise DefinitionError(f"cron {self._defined.name!r}: {function.path} is a query: run a mutation or action")
        if self._defined.function is not None:
            raise DefinitionError(f"cron {self._defined.name!r} runs {self._defined.function.path} already")
        self._defined.function, self._defined.args, self._defined.kwargs = function, args, dict(kwargs)


class Crons:
    """The crons of an application, each under a name of its own; `App(crons=...)` has them run.

    A cron whose former run is still going, or that comes due while no server runs, skips that time: it is not made up
    for. The first that came due meanwhile runs late. Times are those of UTC unless `tz` names a zone such
    as "Europe/Berlin"; where its clocks are changed, a time of the day that is left out runs right after, and one that
    comes twice runs once.
    """

    def __init__(self) -> None:
        self._defined: dict[str, Defined] = {}

    def __iter__(self) -> Iterator[Defined]:
        return iter(self._defined.values())

    def interval(self, name: str, *, seconds: float = 0, minutes: float = 0, hours: float = 0) -> CronTime:
        """Every so often: at once when this cron is first deployed, then a whole number of intervals later."""
        return self._add(name, _interval(name, seconds, minutes, hours))

    def cron(self, name: str, expression: str, *, tz: str = "UTC") -> CronTime:
        """At the times of a cron expression of five fields, such as "*/5 9-17 * * mon-fri"."""
        return self._add(name, _expression(name, expression, tz))

    def hourly(self, name: str, *, minute: int = 0) -> CronTime:
        """Each hour at a minute."""
        return self._add(name, _expression(name, f"{_within(name, 'minute', minute, 0, 59)} * * * *", "UTC"))

    def daily(self, name: str, *, hour: int, minute: int = 0, tz: str = "UTC") -> CronTime:
        """Each day at a time."""
        return self._at(name, hour, minute, "* * *", tz)

    def weekly(self, name: str, *, day: Weekday, hour: int, minute: int = 0, tz: str = "UTC") -> CronTime:
        """Each week at a time of a day such as "monday"."""
        if day not in _WEEKDAYS:
            raise DefinitionError(f"cron {name!r}: day must be one of {', '.join(_WEEKDAYS)}, got {day!r}")
        return self._at(name, hour, minute, f"* * {_WEEKDAYS.index(day)}", tz)

    def monthly(self, name: str, *, day: int, hour: int, minute: int = 0, tz: str = "UTC") -> CronTime:
        """Each month at a time of a day, 1 to 31. Months without that day are left out."""
        return self._at(name, hour, minute, f"{_within(name, 'day', day, 1, 31)} * *", tz)

    def _at(self, name: str, hour: int, minute: int, days: str, tz: str) -> CronTime:
        _within(name, "hour", hour, 0, 23)
        _within(name, "minute", minute, 0, 59)
        return self._add(name, _expression(name, f"{minute} {hour} {days}", tz))

    def _add(self, name: str, schedule: Schedule) -> CronTime:
        if not (name and name.isprintable() and len(name) <= _NAME_LENGTH):
            raise DefinitionError(f"{name!r} can't name a cron: use 1 to {_NAME_LENGTH} printable characters")
        if name in self._defined:
            raise DefinitionError(f"cron {name!r} is defined twice")
        if len(self._defined) >= DEFAULT.crons:
            raise DefinitionError(f"cron {name!r}: an app has at most limits.crons = {DEFAULT.crons} crons")
        self._defined[name] = Defined(name, schedule)
        return CronTime(self._defined[name])


class CronRun(Object, rename="camel"):
    """How a run of a cron ended. Times are milliseconds since 1970."""

    scheduled_time: float
    """When it was due."""
    completed_time: float
    state: Literal["success", "failed", "canceled"]
    error: str | None = missing()
    """Why it failed, or was skipped."""
    skipped: int | None = missing()
    """How many runs were skipped, from that one on."""


class Cron(Table, table="_crons", rename="camel", system=True):
    """A row of the table `_crons`: what a cron runs, when next, and how it went. Times are milliseconds since 1970."""

    name: str
    function: str
    args: dict[str, Any]
    schedule: str
    next_time: float
    last_time: float | None = missing()
    """When the latest run was due."""
    running: str | None = missing()
    """The id of the latest run in `_scheduled_functions`, where it stays until it has ended."""
    runs: list[CronRun]
    """How the last runs ended, the latest one last: `limits.cron_runs_kept` of them."""

    by_name = Index("name")
