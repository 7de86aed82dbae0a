"""The figures as one SVG of small bar charts, one chart per question, one bar per server."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from html import escape

from .load import Figures
from .report import SERVERS, short, whole

_COLOURS = {
    "reflow_durable": "#2563eb",
    "reflow_durable_http": "#60a5fa",
    "reflow_relaxed": "#0d9488",
    "reflow_relaxed_http": "#5eead4",
    "pocketbase": "#d97706",
    "floor": "#9ca3af",
}
_WIDTH, _LABELS, _BARS = 860, 290, 470
_BAR, _GAP, _TITLE = 16, 6, 40


@dataclass(frozen=True)
class Chart:
    """One question: the figure `workload_SERVER_suffix` of every server that has it."""

    title: str
    workload: str
    suffix: str
    show: Callable[[float], str]


CHARTS = (
    Chart("Creates per second, 64 clients", "creates", "ops_per_s", whole),
    Chart("Server CPU per create, microseconds (less is better)", "creates", "cpu_us", whole),
    Chart("Increments of one document per second, 64 clients", "contended", "ops_per_s", whole),
    Chart("Acknowledged increments lost (none is right)", "contended", "lost", whole),
    Chart("Point reads per second, 64 clients", "reads", "ops_per_s", whole),
    Chart("Fan-out to 1,000 sockets: server CPU per delivery, microseconds", "fanout", "cpu_us_per_delivery", short),
    Chart("Fan-out to 1,000 sockets: last subscriber, median ms", "fanout", "last_p50_ms", short),
    Chart("1,000 distinct subscriptions: CPU per write, microseconds", "distinct", "1000_cpu_us", whole),
    Chart("Memory of 1,000 subscribers, MB", "fanout", "memory_mb_per_1000", short),
)


def svg(figures: Figures) -> str:
    """All charts that have figures, one below the other, as an SVG document."""
    parts: list[str] = []
    top = 0
    for chart in CHARTS:
        values = _values(chart, figures)
        if values:
            parts.append(_chart(chart, values, top))
            top += _TITLE + len(values) * (_BAR + _GAP) + _GAP
    style = (
        "text{font:13px system-ui,sans-serif;fill:#1f2937}.t{font-weight:600}svg{background:#fff}"
        "@media (prefers-color-scheme:dark){text{fill:#e5e7eb}svg{background:#111827}}"
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top}" width="{_WIDTH}" height="{top}">'
        f"<style>{style}</style>{''.join(parts)}</svg>\n"
    )


def _values(chart: Chart, figures: Figures) -> dict[str, float]:
    """The chart's figure by server."""
    names = {server: f"{chart.workload}_{server}_{chart.suffix}" for server in SERVERS}
    return {server: figures[name] for server, name in names.items() if name in figures}


def _chart(chart: Chart, values: dict[str, float], top: int) -> str:
    """The title and one bar per server, scaled to the largest."""
    largest = max(values.values()) or 1.0
    parts = [f'<text class="t" x="16" y="{top + 26}">{escape(chart.title)}</text>']
    for place, (server, value) in enumerate(values.items()):
        y = top + _TITLE + place * (_BAR + _GAP)
        width = max(1.0, value / largest * _BARS)
        parts.append(
            f'<text x="{_LABELS - 10}" y="{y + 13}" text-anchor="end">{escape(SERVERS[server])}</text>'
            f'<rect x="{_LABELS}" y="{y}" width="{width:.1f}" height="{_BAR}" rx="3" fill="{_COLOURS[server]}"/>'
            f'<text x="{_LABELS + width + 8:.1f}" y="{y + 13}">{chart.show(value)}</text>'
        )
    return "".join(parts)
