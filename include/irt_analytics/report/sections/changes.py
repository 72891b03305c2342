"""What changed since last week, and what to do about it."""

from collections.abc import Iterator

from irt_analytics.report.bank import review_items
from irt_analytics.report.document import Badge, Badges, Level, Section, Words
from irt_analytics.report.facts import MIN_GROUP, MIN_MEAN_GROWTH, Facts
from irt_analytics.report.figures import Studio
from irt_analytics.report.markup import visible
from irt_analytics.report.texts import Texts

#: Change of activity worth a word, as a share of last week's.
NOTABLE_ACTIVITY = 0.15
#: A link this far from A = 1, B = 0 means that the new calibration stands elsewhere than the old one.
NOTABLE_SLOPE, NOTABLE_SHIFT = 0.1, 0.2
#: Names listed before "and more".
LISTED = 5

_ORDER: tuple[Level, ...] = ("act", "watch", "good", "note")


def section(facts: Facts, texts: Texts, _studio: Studio) -> Section:
    """Return the section; without anything to say it says so."""
    found = sorted(_changes(facts, texts), key=lambda badge: _ORDER.index(badge.level))
    if not found:
        return Section("changes", texts("changes.title"), [Words(texts("changes.none"))])
    return Section("changes", texts("changes.title"), [Badges(found)])


def _changes(facts: Facts, texts: Texts) -> Iterator[Badge]:
    yield from _learners(facts, texts)
    yield from _activity(facts, texts)
    yield from _growth(facts, texts)
    yield from _items(facts, texts)
    yield from _scale(facts, texts)
    yield from _segments(facts, texts)


def _badge(texts: Texts, level: Level, key: str, **values: object) -> Badge:
    return Badge(level, texts(f"level.{level}"), texts(f"changes.{key}.text", **values), texts(f"changes.{key}.action"))


def _listed(texts: Texts, names: list[str]) -> str:
    shown = texts.listed([visible(name) for name in names[:LISTED]])
    rest = len(names) - LISTED
    return texts("format.and_more", names=shown, rest=rest) if rest > 0 else shown


def _learners(facts: Facts, texts: Texts) -> Iterator[Badge]:
    before = {learner.user_id for learner in facts.flagged_before}
    new = [learner.user_id for learner in facts.flagged if learner.user_id not in before]
    if new:
        yield _badge(texts, "act", "flagged", count=len(new), names=_listed(texts, new))


def _activity(facts: Facts, texts: Texts) -> Iterator[Badge]:
    weeks = {week.last_day: week for week in facts.activity}
    now = weeks.pop(facts.as_of, None)
    before = next(iter(weeks.values()), None)
    if before is None or before.learners < MIN_GROUP:
        return
    learners = now.learners if now is not None else 0
    change = learners - before.learners
    if abs(change) < NOTABLE_ACTIVITY * before.learners:
        return
    values = {"now": learners, "before": before.learners, "change": texts.percent(abs(change) / before.learners)}
    yield (
        _badge(texts, "act", "activity_fell", **values)
        if change < 0
        else _badge(texts, "good", "activity_rose", **values)
    )


def _growth(facts: Facts, texts: Texts) -> Iterator[Badge]:
    now = facts.growth(facts.week_start)
    if now is None or now.n < MIN_MEAN_GROWTH or now.m is None:
        return
    level: Level = "good" if now.n_growing > now.n_declining else "watch" if now.n_declining > now.n_growing else "note"
    values = {
        "count": now.n,
        "m": texts.number(now.m, signed=True),
        "growing": now.n_growing,
        "declining": now.n_declining,
    }
    yield _badge(texts, level, f"growth_{level}", **values)


def _items(facts: Facts, texts: Texts) -> Iterator[Badge]:
    if not facts.items:
        return
    if not facts.items_before:
        yield _badge(texts, "note", "first_bank", count=len(facts.items))
        return
    reviewed_before = {review.item.item_id for review in review_items(facts.items_before)}
    new = [review.item.item_id for review in review_items(facts.items) if review.item.item_id not in reviewed_before]
    if new:
        yield _badge(texts, "act", "items", count=len(new), names=_listed(texts, new))
    usable_before = {item.item_id for item in facts.items_before if item.status != "provisional"}
    usable = [
        item.item_id for item in facts.items if item.status != "provisional" and item.item_id not in usable_before
    ]
    if usable:
        yield _badge(texts, "good", "usable", count=len(usable), names=_listed(texts, usable))


def _scale(facts: Facts, texts: Texts) -> Iterator[Badge]:
    fit = facts.fit("current")
    if fit is None:
        yield _badge(texts, "act", "no_bank")
        return
    link = fit.linking_constants
    if link and (abs(link["A"] - 1) > NOTABLE_SLOPE or abs(link["B"]) > NOTABLE_SHIFT):
        yield _badge(texts, "watch", "scale", A=texts.number(link["A"]), B=texts.number(link["B"], signed=True))
    if fit.window_extended and fit.as_of == facts.as_of:
        yield _badge(texts, "watch", "window", start=fit.window_start, end=fit.window_end)


def _segments(facts: Facts, texts: Texts) -> Iterator[Badge]:
    for move in facts.segment_moves:
        if move.n < MIN_GROUP:
            continue
        level: Level = "watch" if move.label == "struggling" else "good" if move.label == "improving" else "note"
        yield _badge(
            texts,
            level,
            f"moved_{level}",
            count=move.n,
            before=texts.known("segment_names", move.label_before),
            after=texts.known("segment_names", move.label),
        )
