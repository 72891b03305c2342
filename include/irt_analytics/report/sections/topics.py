"""Which topics are easier and which are harder than the average one, and how right answers grow by week."""

from collections.abc import Mapping, Sequence
from typing import Any

from irt_analytics.report.document import Block, Chart, Section, Words
from irt_analytics.report.facts import Facts, TopicMeta
from irt_analytics.report.figures import Studio
from irt_analytics.report.markup import visible
from irt_analytics.report.texts import Texts

#: Topics drawn of those that stand out most to either side.
DRAWN = 12

_Z95 = 1.96


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
    topics = sorted(meta.topics or (), key=lambda topic: (-topic["effect"], str(topic["topic_id"])))
    if topics:
        blocks.append(_chart(topics, texts, studio))
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


def _chart(topics: Sequence[Mapping[str, Any]], texts: Texts, studio: Studio) -> Chart:
    drawn = topics if len(topics) <= 2 * DRAWN else [*topics[:DRAWN], *topics[-DRAWN:]]
    hardest, easiest = topics[-1], topics[0]
    apart = [topic for topic in topics if abs(topic["effect"]) > _Z95 * topic["se"]]
    return Chart(
        texts("topics.message", hardest=visible(str(hardest["topic_id"])), easiest=visible(str(easiest["topic_id"]))),
        texts("topics.alt", shown=len(drawn), count=len(topics), apart=len(apart)),
        studio.topic_effects(
            [(visible(str(topic["topic_id"])), topic["effect"], _Z95 * topic["se"]) for topic in drawn],
            cut=DRAWN if len(drawn) < len(topics) else None,
        ),
        texts("topics.note", shown=len(drawn), count=len(topics)),
    )
