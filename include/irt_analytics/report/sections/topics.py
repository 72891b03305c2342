"""Which topics are easier and which are harder than the average one, and how right answers grow by week."""

from collections.abc import Sequence
from dataclasses import dataclass

from irt_analytics.report.document import Block, Chart, Section, Words
from irt_analytics.report.facts import Facts, TopicMeta
from irt_analytics.report.figures import Studio
from irt_analytics.report.markup import visible
from irt_analytics.report.texts import Texts

#: Topics drawn of those that stand out most to either side.
DRAWN = 12

_Z95 = 1.96


@dataclass(frozen=True)
class _Topic:
    """A topic by its visible name, its effect as the model has it and how easy it is, in log-odds of a right answer."""

    name: str
    effect: float
    easiness: float
    half: float


def section(facts: Facts, texts: Texts, studio: Studio) -> Section:
    """Return the section of topic effects; without the mixed model it says why."""
    title = texts("topics.title")
    meta = next(iter(facts.topic_metas), None)
    if meta is None or meta.status != "success":
        run = next((run for run in facts.job_runs if run.job == "fit_glmm"), None)
        reason = (meta.reason if meta is not None else None) or (run and (run.reason or run.error))
        said = texts.said(reason) if reason else texts("badge.no_reason.absent")
        return Section("topics", title, [Words(texts("topics.none", reason=said))])
    blocks: list[Block] = [Words(_lead(meta, texts), "lead")]
    blocks += [
        Words(texts(f"topics.{flaw}"))
        for flaw, there in (("unconverged", not meta.converged), ("singular", meta.singular))
        if there
    ]
    topics = _topics(meta)
    if topics:
        blocks.append(_chart(topics, meta, texts, studio))
    if topics and meta.item_term == "offset":
        blocks.append(Words(_against_published(topics, texts)))
    sample = texts("topics.sampled" if meta.sampled else "topics.all", learners=meta.n_learners, answers=meta.n_answers)
    blocks.append(Words(f"{sample} {texts(f'topics.item.{meta.item_term}')}", "small"))
    return Section("topics", title, blocks)


def _lead(meta: TopicMeta, texts: Texts) -> str:
    week = next(row for row in meta.fixed or () if row["term"] == "week")
    kind = "steady" if week["lower"] <= 0 <= week["upper"] else "up" if week["estimate"] > 0 else "down"
    return texts(
        f"topics.lead.{kind}",
        estimate=texts.number(week["estimate"], 3, signed=True),
        interval=texts.interval(week["lower"], week["upper"], 3, signed=True),
    )


def _topics(meta: TopicMeta) -> list[_Topic]:
    """Topics against the average one, the easiest first.

    Where items enter with their published difficulty, the model's effect of a topic is how much easier it is than
    published: how easy it is, is the two together.
    """
    found = meta.topics or ()
    offset = meta.item_term == "offset"
    easiness = [topic["effect"] + (topic["published"] if offset else 0.0) for topic in found]
    average = sum(easiness) / len(easiness) if offset and easiness else 0.0
    topics = [
        _Topic(visible(str(topic["topic_id"])), topic["effect"], easy - average, _Z95 * topic["se"])
        for topic, easy in zip(found, easiness, strict=True)
    ]
    return sorted(topics, key=lambda topic: (-topic.easiness, topic.name))


def _chart(topics: Sequence[_Topic], meta: TopicMeta, texts: Texts, studio: Studio) -> Chart:
    drawn = topics if len(topics) <= 2 * DRAWN else [*topics[:DRAWN], *topics[-DRAWN:]]
    apart = sum(abs(topic.easiness) > topic.half for topic in topics)
    return Chart(
        texts("topics.message", hardest=topics[-1].name, easiest=topics[0].name),
        texts("topics.alt", shown=len(drawn), count=len(topics), apart=apart),
        studio.topic_effects(
            [(topic.name, topic.easiness, topic.half) for topic in drawn],
            cut=DRAWN if len(drawn) < len(topics) else None,
        ),
        texts(f"topics.note.{meta.item_term}", shown=len(drawn), count=len(topics)),
    )


def _against_published(topics: Sequence[_Topic], texts: Texts) -> str:
    harder = sorted((topic for topic in topics if topic.effect + topic.half < 0), key=lambda topic: topic.effect)
    if not harder:
        return texts("topics.as_published")
    most = harder[0]
    return texts(
        "topics.harder_than_published",
        count=len(harder),
        topic=most.name,
        estimate=texts.number(most.effect, signed=True),
        interval=texts.interval(most.effect - most.half, most.effect + most.half, signed=True),
    )
