"""The page of one learner."""

from irt_analytics.report.document import (
    Badge,
    Badges,
    Block,
    Card,
    Cards,
    Chart,
    Column,
    Document,
    Section,
    Table,
    Words,
)
from irt_analytics.report.facts import MIN_GROUP, Facts, LearnerFacts, LearnerProfile
from irt_analytics.report.figures import Studio
from irt_analytics.report.markup import visible
from irt_analytics.report.sections.kpis import SIGNED
from irt_analytics.report.texts import NOTHING, Texts

KPIS = ("i_t", "a_t", "e_t", "r_t")


def learner_document(facts: Facts, learner: LearnerFacts, figure: str, texts: Texts, studio: Studio) -> Document:
    """Compute a learner's page; its figure goes into the studio's folder under the name given."""
    blocks: list[Block] = [_cards(facts, learner.profile, texts)]
    if learner.reasons:
        blocks.append(
            Badges(
                [
                    Badge(
                        "watch", texts("level.watch"), texts(f"flags.{reason}.title"), texts(f"flags.{reason}.action")
                    )
                    for reason in learner.reasons
                ]
            )
        )
    return Document(
        lang=texts.lang,
        kicker=texts("learner.kicker"),
        title=visible(learner.profile.user_id),
        subtitle=texts.period(facts.week_start, facts.as_of),
        footer=texts("document.footer", as_of=facts.as_of),
        date=facts.as_of,
        sections=[
            Section("summary", texts("learner.summary"), blocks),
            _trend(learner, figure, texts, studio),
            _kpis(facts, learner.profile, texts),
            _topics(learner, texts),
        ],
    )


def _cards(facts: Facts, profile: LearnerProfile, texts: Texts) -> Cards:
    ability_note = (
        texts("learner.ability.note", se=texts.number(profile.se), count=profile.n_responses)
        if profile.n_responses is not None
        else texts("learner.ability.none")
    )
    cards = [Card(texts("learner.ability.label"), texts.number(profile.theta, signed=True), ability_note)]
    if profile.target_date is not None:
        note = texts("learner.goal.note", day=profile.target_date)
        cards.append(Card(texts("learner.goal.label"), texts.number(profile.target_theta, signed=True), note))
    if profile.segment is not None:
        note = texts.known("segment_advice", profile.segment)
        cards.append(Card(texts("learner.segment.label"), texts.known("segment_names", profile.segment), note))
    if profile.last_day is not None:
        days = (facts.as_of - profile.last_day).days
        note = texts("learner.last_day.note", count=days) if days else texts("learner.last_day.same_day")
        cards.append(Card(texts("learner.last_day.label"), texts.short_day(profile.last_day), note))
    return Cards(cards)


def _trend(learner: LearnerFacts, figure: str, texts: Texts, studio: Studio) -> Section:
    title = texts("learner.trend.title")
    if not learner.weeks:
        return Section("trend", title, [Words(texts("learner.trend.none"))])
    last = learner.weeks[-1]
    profile = learner.profile
    message = texts(
        "learner.trend.message",
        mean=texts.number(last.m, signed=True),
        interval=texts.interval(last.m - 1.96 * last.s, last.m + 1.96 * last.s, signed=True),
    )
    chart = Chart(
        message,
        texts("learner.trend.alt", count=len(learner.weeks)),
        studio.learner_trend(figure, learner.weeks, profile.target_theta),
        texts("learner.trend.note"),
    )
    return Section("trend", title, [chart])


def _kpis(facts: Facts, profile: LearnerProfile, texts: Texts) -> Section:
    names = ("kpi", "value", "interval", "n", "cohort")
    columns = [
        Column(texts(f"learner.kpis.{name}"), "left" if name == "kpi" else "right", width)
        for name, width in zip(names, (34, 14, 22, 12, 18), strict=True)
    ]
    rows, reasons = [], []
    for kpi in KPIS:
        value, lower, upper, n, reason = (
            getattr(profile, f"{kpi}{part}") for part in ("", "_lower", "_upper", "_n", "_reason")
        )
        key = "i_t_accuracy" if kpi == "i_t" and profile.i_t_source == "accuracy" else kpi
        cohort = facts.kpi(key)
        signed = kpi in SIGNED
        rows.append(
            [
                texts(f"kpi.{key}.label"),
                texts.number(value, signed=signed),
                texts.interval(lower, upper, signed=signed),
                texts.count(n),
                texts.number(cohort.median, signed=signed) if cohort is not None and cohort.n >= MIN_GROUP else NOTHING,
            ]
        )
        if reason is not None:
            reasons.append(f"{texts(f'kpi.{key}.name')}: {texts.said(reason)}")
    note = texts("learner.kpis.missing", reasons=texts("format.sentence").join(reasons)) if reasons else ""
    table = Table("kpis", texts("learner.kpis.table"), columns, rows, note)
    return Section("kpis", texts("kpis.title"), [table, Words(texts("kpis.reading"), "small")])


def _topics(learner: LearnerFacts, texts: Texts) -> Section:
    title = texts("learner.topics.title")
    if not learner.topics:
        return Section("topics", title, [Words(texts("learner.topics.none"))])
    columns = [
        Column(texts(f"learner.topics.{name}"), "left" if name == "topic" else "right", width)
        for name, width in zip(("topic", "theta", "interval", "n"), (46, 16, 24, 14), strict=True)
    ]
    rows = [
        [
            visible(topic.topic_id),
            texts.number(topic.theta, signed=True),
            texts.interval(topic.theta - 1.96 * topic.se, topic.theta + 1.96 * topic.se, signed=True),
            texts.count(topic.n_responses),
        ]
        for topic in learner.topics
    ]
    table = Table("topics", texts("learner.topics.table"), columns, rows, texts("learner.topics.note"))
    return Section("topics", title, [table])
