"""Draws charts as plain SVG on the server, without script or inline style, so that they work offline and under any CSP.

Positions are percentages and text keeps its size, so one drawing fits a phone and a desktop; colours are classes of
`aichat/static/aichat/charts.css`, light and dark. Every mark has its figures as a tooltip, and every chart is also a
table, for whoever can't see it or wants the figures.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

HEIGHT = 200  # of the plot, in pixels
TOP, BOTTOM = 8, 24  # room for the highest label, and for the labels below the axis
MOST_X_LABELS = 6
ROW, BAR = 32, 8  # of a chart of named rows, in pixels: a row's height, and that of the bar below its name
COLOURS = 8  # of `charts.css`; the last one is grey


@dataclass(frozen=True, slots=True)
class Series:
    """One series of a chart: a value for each label, None where nothing was measured (a line chart leaves a gap).

    `colour` is one of COLOURS; None: that of its place among the series.
    """

    name: str
    values: Sequence[float | None]
    colour: int | None = None


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart. `labels` stand along the x axis; the title names the `unit` of the y axis."""

    title: str
    labels: Sequence[str]
    series: Sequence[Series]
    unit: str = ""
    format: Callable[[float], str] = field(default=lambda value: compact(value))

    def bars(self) -> SafeString:
        """Draw the chart as stacked bars."""
        axis = ticks(
            max(
                (sum(v or 0 for v in values) for values in zip(*(s.values for s in self.series), strict=True)),
                default=0,
            )
        )
        return self._figure(axis, self._bars(axis))

    def lines(self) -> SafeString:
        """Draw the chart as one line for each series."""
        axis = ticks(max((value or 0 for series in self.series for value in series.values), default=0))
        return self._figure(axis, self._lines(axis))

    def rows(self) -> SafeString:
        """Draw the first series as a row for each label, for names of any length: the name, the value, and a bar below."""
        (series, *_) = self.series
        highest = max((value or 0 for value in series.values), default=0) or 1
        rows = format_html_join(
            "",
            '<text x="0" y="{}">{}</text><text x="100%" y="{}" text-anchor="end">{}</text>'
            '<rect x="0" y="{}" width="{}%" height="{}" class="plot-fill-{}"><title>{}</title></rect>',
            (
                (
                    number * ROW + 13,
                    label,
                    number * ROW + 13,
                    self.format(value or 0),
                    number * ROW + 18,
                    f"{100 * (value or 0) / highest:.3f}",
                    BAR,
                    self.colour(0),
                    f"{label} · {series.name}: {self.format(value or 0)}",
                )
                for number, (label, value) in enumerate(zip(self.labels, series.values, strict=True))
            ),
        )
        return format_html(
            '<figure class="plot"><figcaption><strong>{}</strong></figcaption>'
            '<svg class="plot-marks plot-rows" width="100%" height="{}" role="img" aria-label="{}">{}</svg>{}</figure>',
            self.title,
            len(self.labels) * ROW,
            f"{self.title}: {len(self.labels)} values; the table below has them.",
            rows,
            self._table(),
        )

    def colour(self, number: int) -> int:
        own = self.series[number].colour
        return number % COLOURS if own is None else own

    def _bars(self, axis: Sequence[float]) -> SafeString:
        width = 100 / max(1, len(self.labels))
        marks = []
        for position, label in enumerate(self.labels):
            base = 0.0
            for number, series in enumerate(self.series):
                value = series.values[position] or 0
                if value <= 0:
                    continue
                top, height = _y(base + value, axis), _y(base, axis) - _y(base + value, axis)
                base += value
                marks.append(
                    (
                        f"{position * width + width * 0.15:.3f}",
                        f"{top:.1f}",
                        f"{width * 0.7:.3f}",
                        f"{max(height, 0.5):.1f}",
                        self.colour(number),
                        f"{label} · {series.name}: {self.format(value)}",
                    )
                )
        return format_html_join(
            "", '<rect x="{}%" y="{}" width="{}%" height="{}" class="plot-fill-{}"><title>{}</title></rect>', marks
        )

    def _lines(self, axis: Sequence[float]) -> SafeString:
        step = 100 / max(1, len(self.labels))
        lines, dots = [], []
        for number, series in enumerate(self.series):
            points = [
                ((i + 0.5) * step, _y(value, axis), self.labels[i], value)
                for i, value in enumerate(series.values)
                if value is not None
            ]
            for (x1, y1, *_), (x2, y2, *_) in pairwise(points):
                lines.append((f"{x1:.3f}", f"{y1:.1f}", f"{x2:.3f}", f"{y2:.1f}", self.colour(number)))
            for x, y, label, value in points:
                radius = 3 if len(points) <= 60 else 1.5
                text = f"{label} · {series.name}: {self.format(value)}"
                dots.append((f"{x:.3f}", f"{y:.1f}", radius, self.colour(number), text))
        return format_html(
            "{}{}",
            format_html_join("", '<line x1="{}%" y1="{}" x2="{}%" y2="{}" class="plot-line-{}" />', lines),
            format_html_join(
                "", '<circle cx="{}%" cy="{}" r="{}" class="plot-fill-{}"><title>{}</title></circle>', dots
            ),
        )

    def _figure(self, axis: Sequence[float], marks: SafeString) -> SafeString:
        legend = format_html_join(
            "",
            '<li><span class="plot-key plot-key-{}"></span>{}</li>',
            ((self.colour(number), series.name) for number, series in enumerate(self.series)),
        )
        y_labels = format_html_join(
            "",
            '<text x="100%" y="{}" text-anchor="end">{}</text>',
            ((f"{_y(tick, axis) + 4:.1f}", self.format(tick)) for tick in axis),
        )
        grid = format_html_join(
            "",
            '<line x1="0" x2="100%" y1="{0}" y2="{0}" class="plot-grid" />',
            ((f"{_y(t, axis):.1f}",) for t in axis),
        )
        step = 100 / max(1, len(self.labels))
        every = math.ceil(len(self.labels) / MOST_X_LABELS) if self.labels else 1
        x_labels = format_html_join(
            "",
            '<text x="{}%" y="{}" text-anchor="middle">{}</text>',
            (
                (f"{(i + 0.5) * step:.3f}", TOP + HEIGHT + 18, label)
                for i, label in enumerate(self.labels)
                if i % every == every // 2
            ),
        )
        return format_html(
            '<figure class="plot"><figcaption><strong>{}</strong>{}<ul class="plot-legend">{}</ul></figcaption>'
            '<div class="plot-body"><svg class="plot-y" width="64" height="{}" aria-hidden="true">{}</svg>'
            '<svg class="plot-marks" width="100%" height="{}" role="img" aria-label="{}">{}{}{}</svg></div>{}</figure>',
            self.title,
            format_html(' <span class="plot-unit">{}</span>', self.unit) if self.unit else "",
            legend,
            TOP + HEIGHT + BOTTOM,
            y_labels,
            TOP + HEIGHT + BOTTOM,
            f"{self.title}: {len(self.labels)} values from {self.labels[0]} to {self.labels[-1]}; the table below has them."
            if self.labels
            else self.title,
            grid,
            marks,
            x_labels,
            self._table(),
        )

    def _table(self) -> SafeString:
        rows = zip(self.labels, *(series.values for series in self.series), strict=True)
        return format_html(
            '<details class="plot-table"><summary>Figures</summary><div class="scroll"><table><caption class="sr-only">{}'
            '</caption><tr><th scope="col"></th>{}</tr>{}</table></div></details>',
            f"{self.title} {self.unit}".strip(),
            format_html_join("", '<th scope="col" class="number">{}</th>', ((series.name,) for series in self.series)),
            format_html_join(
                "",
                '<tr><th scope="row">{}</th>{}</tr>',
                (
                    (
                        label,
                        format_html_join(
                            "", '<td class="number">{}</td>', (("–" if v is None else self.format(v),) for v in values)
                        ),
                    )
                    for label, *values in rows
                ),
            ),
        )


def ticks(highest: float, wanted: int = 4) -> list[float]:
    """Round axis values from 0 to at least `highest`."""
    if highest <= 0:
        return [0.0, 1.0]
    rough = highest / wanted
    size = 10 ** math.floor(math.log10(rough))
    step = next(size * nice for nice in (1, 2, 2.5, 5, 10) if size * nice >= rough * 0.999)
    return [step * i for i in range(math.ceil(highest / step - 1e-9) + 1)]


def compact(value: float) -> str:
    """A number shortened for an axis: 1234567 becomes "1.23M"."""
    for limit, suffix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{suffix}"
    return f"{value:.3g}" if abs(value) < 100 else f"{value:.0f}"


def _y(value: float, axis: Sequence[float]) -> float:
    return TOP + HEIGHT * (1 - value / axis[-1])
