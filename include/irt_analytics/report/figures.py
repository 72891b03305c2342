"""The report's figures: calm, direct labels, readable in grey, the same bytes for the same data."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from irt_analytics.report import fonts
from irt_analytics.report.bank import MISFIT, Coverage, Review
from irt_analytics.report.facts import ForecastWeek, Item, JudgedWeek, KpiWeek, LearnerWeek, ThetaWeek
from irt_analytics.report.markup import visible
from irt_analytics.report.texts import Texts

WIDTH = 7.2  # inches: the width of the text on paper

INK, MUTED, RULE = "#1d2733", "#66717f", "#dfe3e8"
ACCENT, BAND, LIGHT = "#1f5582", "#c9d8e6", "#8fa9c0"
ALERT = "#b4491c"

_BOLD = 700
LONGEST_TITLE = 26

_STYLE: Any = {
    "font.family": list(fonts.FAMILIES),
    "font.size": 8.5,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.titlesize": 9,
    "axes.titleweight": _BOLD,
    "axes.titlelocation": "left",
    "grid.color": RULE,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "lines.linewidth": 1.8,
    "svg.fonttype": "path",
    "figure.constrained_layout.use": True,
    "text.parse_math": False,  # a dollar sign in an id is a dollar sign
}


@contextmanager
def _drawing(salt: str) -> Iterator[None]:
    """Set the report's style and turn every warning of matplotlib, such as a missing glyph, into an error."""
    _register_fonts()
    with mpl.rc_context({**_STYLE, "svg.hashsalt": salt}), warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        yield


def _register_fonts() -> None:
    known = {entry.fname for entry in font_manager.fontManager.ttflist}
    for path in fonts.files():
        if str(path) not in known:
            font_manager.fontManager.addfont(path)
            if path.stem.endswith("Bold"):  # NanumGothic's bold calls itself 600; matplotlib would warn at every text
                font_manager.fontManager.ttflist[-1] = replace(font_manager.fontManager.ttflist[-1], weight=_BOLD)


@dataclass(frozen=True)
class Studio:
    """Draws the figures of one report into a folder; each method returns the file's path relative to it."""

    folder: Path
    texts: Texts

    def _draw(self, name: str, height: float, paint: Callable[[Figure], None]) -> str:
        path = self.folder / f"{name}.svg"
        with _drawing(name):
            figure = Figure(figsize=(WIDTH, height))
            paint(figure)
            figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
        return path.name

    def theta_trend(self, weeks: Sequence[ThetaWeek]) -> str:
        """Mean ability by week with its 95 % interval, and the number of learners behind each point."""

        def paint(figure: Figure) -> None:
            axes = figure.subplots()
            x = [week.week_start for week in weeks]
            grid, mean, se = _by_week(weeks, "mean", "se")
            _band(axes, grid, mean - 1.96 * se, mean + 1.96 * se)
            axes.plot(grid, mean, color=ACCENT, marker="o", markersize=3.5)
            _label_end(axes, x[-1], mean[-1], self.texts.number(float(mean[-1]), signed=True))
            axes.set_ylabel(self.texts("axis.theta"))
            axes.set_xlabel(self.texts("chart.learners"))
            self._weeks(axes, x, counts=[week.n_learners for week in weeks])

        return self._draw("theta-trend", 2.7, paint)

    def kpi_trends(self, series: Sequence[tuple[str, Sequence[KpiWeek]]]) -> str:
        """Median and middle half of each KPI by week, one panel a KPI."""

        def paint(figure: Figure) -> None:
            rows = (len(series) + 1) // 2
            panels = figure.subplots(rows, 2, squeeze=False, sharex=True)
            every_week = sorted({week.week_start for _, weeks in series for week in weeks})
            for axes, (kpi, weeks) in zip(panels.flat, series, strict=False):
                grid, median, low, high = _by_week(weeks, "median", "p25", "p75")
                _band(axes, grid, low, high)
                axes.plot(grid, median, color=ACCENT, marker="o", markersize=3)
                signed = kpi in {"i_t", "i_t_accuracy", "e_t"}
                _label_end(axes, grid[-1], median[-1], self.texts.number(float(median[-1]), signed=signed))
                if signed:
                    axes.axhline(0, color=MUTED, linewidth=0.8)
                axes.set_title(self.texts(f"kpi.{kpi}.name"))
                axes.set_ylabel(self.texts(f"kpi.{kpi}.unit"))
                self._weeks(axes, every_week, most=5)
            for axes in panels.flat[len(series) :]:
                axes.set_visible(False)
            for axes in panels.flat:
                axes.xaxis.set_tick_params(labelbottom=True)

        return self._draw("kpi-trends", 1.9 * ((len(series) + 1) // 2), paint)

    def information(self, covered: Coverage, items: Sequence[Item], abilities: Sequence[float]) -> str:
        """Test information over ability, above the learners' abilities and the items' difficulties."""

        def paint(figure: Figure) -> None:
            above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
            above.axvspan(covered.low, covered.high, color=BAND, alpha=0.45, linewidth=0)
            above.plot(covered.theta, covered.information, color=ACCENT)
            above.set_ylim(0, float(covered.information.max()) * 1.18)
            above.annotate(
                self.texts("chart.information.range"),
                ((covered.low + covered.high) / 2, float(covered.information.max()) * 1.1),
                ha="center",
                va="center",
                color=ACCENT,
            )
            above.set_ylabel(self.texts("axis.information"))
            bins = np.arange(-4, 4.01, 0.25)
            if abilities:
                learners = np.clip(np.array(abilities), -4, 4)
                below.hist(learners, bins=bins, color=LIGHT, rwidth=0.86)
            below.set_ylabel(self.texts("axis.learners"))
            top = below.get_ylim()[1]
            difficulty = np.clip([item.b for item in items], -4, 4)
            below.plot(difficulty, np.full(len(items), -0.09 * top), "|", color=INK, markersize=6, alpha=0.55, mew=0.8)
            below.set_ylim(-0.18 * top, top)
            below.set_yticks([tick for tick in below.get_yticks() if 0 <= tick <= top])
            below.set_xlabel(self.texts("axis.theta_items"))
            below.set_xlim(-4, 4)
            _signed_ticks(below, self.texts)

        return self._draw("test-information", 3.7, paint)

    def item_map(self, items: Sequence[Item], reviews: Sequence[Review]) -> str:
        """Discrimination and fit over difficulty; items to look at stand out, the first of them by name."""

        def paint(figure: Figure) -> None:
            rasch = all(item.se_a is None for item in items)
            panels = figure.subplots(1, 1 if rasch else 2, squeeze=False)[0]
            flagged = {review.item.item_id for review in reviews}
            groups = {
                LIGHT: [item for item in items if item.item_id not in flagged and item.status != "provisional"],
                "none": [item for item in items if item.status == "provisional"],
            }
            names: tuple[str, ...] = ("outfit",) if rasch else ("a", "outfit")
            for axes, name in zip(panels, names, strict=True):
                for face, group in groups.items():
                    drawn = [item for item in group if getattr(item, name) is not None]
                    x, y = [item.b for item in drawn], [getattr(item, name) for item in drawn]
                    axes.plot(x, y, "o", color=LIGHT, ms=3.2, mew=0.7, mfc=face)
                marked = [review.item for review in reviews if getattr(review.item, name) is not None]
                axes.plot(
                    [item.b for item in marked], [getattr(item, name) for item in marked], "D", color=ALERT, ms=4.5
                )
                if name == "outfit":
                    for level in (1 / MISFIT, MISFIT):
                        axes.axhline(level, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)))
                _label_apart(axes, [(item.b, getattr(item, name), visible(item.item_id)) for item in marked[:6]])
                axes.set_xlabel(self.texts("axis.difficulty"))
                axes.set_title(self.texts(f"chart.items.{name}"))
                axes.grid(axis="x")
                axes.margins(x=0.08, y=0.12)

        return self._draw("item-map", 3.0, paint)

    def item_curves(self, items: Sequence[Item]) -> str:
        """Curve of each item and the shares of right answers observed along it, with their 95 % intervals."""
        columns = min(3, len(items))
        rows = -(-len(items) // columns)

        def paint(figure: Figure) -> None:
            panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
            grid = np.linspace(-3.5, 3.5, 141)
            for axes, item in zip(panels.flat, items, strict=False):
                axes.plot(grid, item.c + (1 - item.c) / (1 + np.exp(-item.a * (grid - item.b))), color=ACCENT)
                theta, n, observed = (
                    np.array([point[name] for point in item.curve]) for name in ("theta", "n", "observed")
                )
                z = 1.96**2 / n  # Wilson's interval
                middle, half = observed + z / 2, 1.96 * np.sqrt((observed * (1 - observed) + z / 4) / n)
                axes.vlines(theta, (middle - half) / (1 + z), (middle + half) / (1 + z), color=LIGHT, linewidth=3)
                axes.plot(theta, observed, "D", color=ALERT, ms=4.5)
                name = visible(item.item_id)
                axes.set_title(name if len(name) <= LONGEST_TITLE else f"{name[: LONGEST_TITLE - 1]}…")
                axes.set_xlim(-3.5, 3.5)
                axes.set_ylim(-0.03, 1.03)
                ticks = np.arange(0, 1.01, 0.25)
                axes.set_yticks(ticks, [self.texts.percent(float(tick)) for tick in ticks])
            for axes in panels.flat[len(items) :]:
                axes.set_visible(False)
            for axes in panels.flat[max(0, len(items) - columns) : len(items)]:
                axes.xaxis.set_tick_params(labelbottom=True)
                _signed_ticks(axes, self.texts)
            figure.supxlabel(self.texts("axis.theta"), fontsize=8.5, color=MUTED)
            figure.supylabel(self.texts("axis.right"), fontsize=8.5, color=MUTED)

        return self._draw("item-curves", 0.5 + 1.75 * rows, paint)

    def anchors(self, pairs: Sequence[tuple[Item, Item]]) -> str:
        """Difficulty of the anchors before and now; those on the line did not move."""

        def paint(figure: Figure) -> None:
            axes = figure.subplots()
            ends = np.array([[before.b, now.b] for before, now in pairs])
            low, high = float(ends.min()) - 0.3, float(ends.max()) + 0.3
            axes.plot([low, high], [low, high], color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
            stable = [pair for pair in pairs if not pair[1].drifted]
            drifted = [pair for pair in pairs if pair[1].drifted]
            axes.plot([b.b for b, _ in stable], [n.b for _, n in stable], "o", color=ACCENT, ms=4.5, mew=0, alpha=0.85)
            axes.plot([b.b for b, _ in drifted], [n.b for _, n in drifted], "D", color=ALERT, ms=5)
            _label_apart(axes, [(before.b, now.b, visible(now.item_id)) for before, now in drifted[:8]])
            axes.set_xlabel(self.texts("axis.difficulty_before"))
            axes.set_ylabel(self.texts("axis.difficulty_now"))
            axes.set_xlim(low, high)
            axes.set_ylim(low, high)
            axes.grid(axis="x")

        return self._draw("anchors", 3.2, paint)

    def segments(self, features: Sequence[str], groups: Sequence[tuple[str, Sequence[float]]]) -> str:
        """Each segment's centroid: how far it lies from the average learner, feature by feature."""
        columns = 2 if len(groups) in {2, 4} else min(3, len(groups))
        rows = -(-len(groups) // columns)

        def paint(figure: Figure) -> None:
            panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
            y = np.arange(len(features))[::-1]
            for axes, (title, centroid) in zip(panels.flat, groups, strict=False):
                values = np.array(centroid)
                axes.hlines(y, 0, values, color=BAND, linewidth=4.5)
                axes.axvline(0, color=MUTED, linewidth=0.8)
                strong = np.abs(values) >= 0.5
                axes.plot(values[strong], y[strong], "o", color=ACCENT, ms=5)
                axes.plot(values[~strong], y[~strong], "o", color=ACCENT, ms=4, mfc="white")
                axes.set_title(title)
                axes.set_yticks(y, features)
                axes.grid(visible=False)
                axes.spines["bottom"].set_visible(False)
            for axes in panels.flat[len(groups) :]:
                axes.set_visible(False)
            figure.supxlabel(self.texts("axis.deviation"), fontsize=8.5, color=MUTED)
            for axes in panels.flat[max(0, len(groups) - columns) : len(groups)]:
                axes.xaxis.set_tick_params(labelbottom=True)
                _signed_ticks(axes, self.texts)
            panels[0, 0].set_ylim(-0.7, len(features) - 0.3)

        return self._draw("segments", 0.55 + rows * (0.35 + 0.2 * len(features)), paint)

    def forecast(
        self, panels: Sequence[tuple[str, Sequence[JudgedWeek], Sequence[ForecastWeek]]], threshold: float
    ) -> str:
        """Past weeks beside what was expected of them, anomalies marked, and the weeks to come with their intervals."""

        def paint(figure: Figure) -> None:
            rows = figure.subplots(len(panels), 1, squeeze=False, sharex=True)[:, 0]
            for axes, (title, past, ahead) in zip(rows, panels, strict=True):
                grid, observed, expected, sd = _by_week(past, "observed", "expected", "sd")
                axes.vlines(grid, expected - threshold * sd, expected + threshold * sd, color=RULE, linewidth=4)
                axes.plot(grid, observed, color=ACCENT, marker="o", markersize=3.5)
                x = [week.week_start for week in ahead]
                axes.fill_between(
                    x,
                    [week.lower for week in ahead],
                    [week.upper for week in ahead],
                    color=BAND,
                    hatch="////",
                    edgecolor="white",
                    linewidth=0.4,
                )
                mean = [week.forecast for week in ahead]
                axes.plot(x, mean, color=ACCENT, linestyle=(0, (3, 2)), marker="o", markersize=3.5, mfc="white")
                _label_end(axes, x[-1], mean[-1], self.texts.number(mean[-1], signed=True))
                for week in past:
                    if week.anomaly and week.z is not None:
                        axes.plot([week.week_start], [week.observed], "D", color=ALERT, ms=6)
                        axes.annotate(
                            self.texts("chart.forecast.z", z=self.texts.number(week.z, 1, signed=True)),
                            (week.week_start, week.observed),
                            xytext=(7, 0),
                            textcoords="offset points",
                            va="center",
                            color=ALERT,
                        )
                axes.set_title(title)
                axes.set_ylabel(self.texts("axis.theta" if ahead[0].metric == "theta" else "kpi.i_t.unit"))
                axes.margins(y=0.12)
                self._weeks(axes, [*grid, *(day for day in x if day > grid[-1])])
            for axes in rows:
                axes.xaxis.set_tick_params(labelbottom=True)

        return self._draw("forecast", 2.3 * len(panels) + 0.2, paint)

    def calibration(self, groups: Sequence[Mapping[str, float]]) -> str:
        """Share of learners who stayed away over the risk forecast, by groups of like risk, with 95 % intervals."""

        def paint(figure: Figure) -> None:
            axes = figure.subplots()
            predicted = np.array([group["predicted"] for group in groups])
            axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)))
            axes.vlines(
                predicted, [g["lower"] for g in groups], [g["upper"] for g in groups], color=BAND, linewidth=3.5
            )
            axes.plot(predicted, [group["observed"] for group in groups], "o", color=ACCENT, ms=5)
            for set_ticks in (axes.set_xticks, axes.set_yticks):
                ticks = np.arange(0, 1.01, 0.25)
                set_ticks(ticks, [self.texts.percent(float(tick)) for tick in ticks])
            axes.set_xlim(-0.02, 1.02)
            axes.set_ylim(-0.02, 1.02)
            axes.set_xlabel(self.texts("axis.risk_predicted"))
            axes.set_ylabel(self.texts("axis.risk_observed"))
            axes.grid(axis="x")

        return self._draw("risk-calibration", 3.0, paint)

    def probabilities(self, panels: Sequence[tuple[str, Sequence[int]]]) -> str:
        """Learners by tenth of a probability, one panel a kind; those above a half are dark."""

        def paint(figure: Figure) -> None:
            row = figure.subplots(1, len(panels), squeeze=False)[0]
            for axes, (title, counts) in zip(row, panels, strict=True):
                half = len(counts) // 2
                x = (np.arange(len(counts)) + 0.5) / len(counts)
                width = 0.86 / len(counts)
                axes.bar(x[:half], counts[:half], width, color="white", edgecolor=LIGHT, hatch="////", linewidth=0.8)
                axes.bar(x[half:], counts[half:], width, color=ACCENT)
                for place, count in zip(x, counts, strict=True):
                    if count:
                        label = self.texts.count(count)
                        axes.annotate(label, (place, count), (0, 2), textcoords="offset points", ha="center", size=7)
                ticks = np.arange(0, 1.01, 0.25)
                axes.set_xticks(ticks, [self.texts.percent(float(tick)) for tick in ticks])
                axes.set_xlim(-0.03, 1.03)
                axes.margins(y=0.12)
                axes.set_yticks([])
                axes.grid(visible=False)
                axes.set_title(title)
                axes.set_xlabel(self.texts("axis.probability"))

        return self._draw("growth", 2.5, paint)

    def topic_effects(self, topics: Sequence[tuple[str, float, float]], cut: int | None) -> str:
        """Effect of each topic with its 95 % interval, the easiest on top; `cut`: place of topics that are left out."""

        def paint(figure: Figure) -> None:
            axes = figure.subplots()
            y = -np.arange(len(topics), dtype=float)
            if cut is not None:
                y[cut:] -= 1
                axes.axhline((y[cut - 1] + y[cut]) / 2, color=MUTED, linewidth=0.8, linestyle=(0, (1, 3)))
            effect, half = (np.array([topic[place] for topic in topics]) for place in (1, 2))
            apart = np.abs(effect) > half
            axes.axvline(0, color=MUTED, linewidth=0.8)
            axes.hlines(y, effect - half, effect + half, color=BAND, linewidth=3.5)
            axes.plot(effect[apart], y[apart], "o", color=ACCENT, ms=5)
            axes.plot(effect[~apart], y[~apart], "o", color=ACCENT, ms=4.5, mfc="white")
            axes.set_yticks(y, [topic[0] for topic in topics])
            axes.set_ylim(y[-1] - 0.7, 0.7)
            axes.grid(visible=False)
            axes.grid(axis="x")
            axes.set_xlabel(self.texts("axis.topic_effect"))
            _signed_ticks(axes, self.texts)

        return self._draw("topic-effects", 0.7 + 0.19 * len(topics), paint)

    def learner_trend(self, name: str, weeks: Sequence[LearnerWeek], goal: float | None) -> str:
        """One learner's ability by week with its 95 % interval; the goal as a line."""

        def paint(figure: Figure) -> None:
            # Hundreds of these are drawn: one axes at a fixed place is drawn in half the time.
            figure.set_layout_engine("none")
            axes = figure.add_axes((0.065, 0.23, 0.865, 0.74))
            x = [week.week_start for week in weeks]
            grid, theta, sd = _by_week(weeks, "m", "s")
            axes.vlines(grid, theta - 1.96 * sd, theta + 1.96 * sd, color=BAND, linewidth=3.5)
            axes.plot(grid, theta, color=ACCENT, marker="o", markersize=3.5)
            _label_end(axes, x[-1], theta[-1], self.texts.number(float(theta[-1]), signed=True))
            if goal is not None:
                axes.axhline(goal, color=ALERT, linewidth=1, linestyle=(0, (4, 3)))
                axes.annotate(
                    self.texts("chart.learner.goal", value=self.texts.number(goal, signed=True)),
                    (0.005, goal),
                    xycoords=("axes fraction", "data"),
                    xytext=(0, 3),
                    textcoords="offset points",
                    color=ALERT,
                )
            axes.set_ylabel(self.texts("axis.theta"))
            axes.set_xlabel(self.texts("chart.answers"))
            self._weeks(axes, x, counts=[week.n for week in weeks])

        return self._draw(name, 2.4, paint)

    def _weeks(self, axes: Axes, weeks: Sequence[date], most: int = 9, counts: Sequence[int] = ()) -> None:
        """Label about `most` of the weeks, the last one always, each with the number behind it, if given."""
        step = max(1, -(-len(weeks) // most))
        chosen = range(len(weeks) - 1, -1, -step)
        labels = [self.texts.short_day(weeks[index]) for index in chosen]
        if counts:
            numbers = [self.texts.count(counts[index]) for index in chosen]
            labels = [f"{day}\nn = {number}" for day, number in zip(labels, numbers, strict=True)]
        axes.set_xticks([weeks[index] for index in chosen], labels)  # type: ignore[arg-type]
        _signed_ticks(axes, self.texts, which="y")


def _by_week(weeks: Sequence[Any], *names: str) -> tuple[Any, ...]:
    """Weeks from the first to the last, and attributes by week: NaN in weeks that are missing, where lines break."""
    of = {week.week_start: week for week in weeks}
    count = (weeks[-1].week_start - weeks[0].week_start).days // 7 + 1
    grid = [weeks[0].week_start + timedelta(weeks=number) for number in range(count)]
    return grid, *(np.array([getattr(of.get(day), name, None) for day in grid], dtype=float) for name in names)


def _band(axes: Axes, x: Sequence[date], low: Any, high: Any) -> None:
    axes.fill_between(x, low, high, color=BAND, linewidth=0)  # type: ignore[arg-type]


def _label_end(axes: Axes, x: date, y: float, label: str) -> None:
    axes.annotate(
        label,
        (x, y),
        xytext=(6, 0),
        textcoords="offset points",
        va="center",
        color=ACCENT,
        fontweight=_BOLD,
        annotation_clip=False,
    )


def _label_apart(axes: Axes, points: Sequence[tuple[float, float, str]]) -> None:
    """Label points, those near each other on different sides."""
    middle = sum(axes.get_xlim()) / 2
    for index, (x, y, label) in enumerate(sorted(points)):
        dx, ha = (6, "left") if x < middle else (-6, "right")
        dy = 4 if index % 2 else -9
        short = label if len(label) <= 18 else f"{label[:17]}…"
        axes.annotate(short, (x, y), xytext=(dx, dy), textcoords="offset points", ha=ha, fontsize=7.5, color=INK)


def _signed_ticks(axes: Axes, texts: Texts, which: Literal["x", "y"] = "x") -> None:
    """Write tick labels with a true minus and as many decimals as the ticks need; call it when all is drawn."""
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = sorted(axis.get_view_interval())
    ticks = [tick for tick in axis.get_majorticklocs() if low <= tick <= high]
    decimals = next(d for d in range(16) if np.allclose(ticks, np.round(ticks, d), rtol=0, atol=1e-9))
    axis.set_ticks(ticks, [texts.number(float(tick), decimals) for tick in ticks])
