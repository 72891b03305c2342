"""Health of the item bank."""

from irt_analytics.report.bank import Review, coverage, judged_items, review_items
from irt_analytics.report.document import Block, Card, Cards, Chart, Column, Section, Table, Words
from irt_analytics.report.facts import MIN_GROUP, Facts
from irt_analytics.report.figures import Studio
from irt_analytics.report.markup import visible
from irt_analytics.report.texts import Texts

#: Items listed; the CSV file beside the report has them all.
LISTED = 25
#: Items named that one goes together with.
DEPENDENT_NAMED = 3
#: Items whose curve is drawn.
DRAWN = 6


def section(facts: Facts, texts: Texts, studio: Studio) -> Section:
    """Return the section of the item bank; without a published bank it says so."""
    if not facts.items:
        return Section("bank", texts("bank.title"), [Words(texts("bank.none"))])
    reviews, judged = review_items(facts.items), len(judged_items(facts.items))
    blocks: list[Block] = [
        Words(texts("bank.lead"), "lead"),
        _statuses(facts, texts),
        _information(facts, texts, studio),
        Chart(
            texts("bank.items.message", count=len(reviews), of=judged)
            if reviews
            else texts("bank.items.clean", count=judged),
            texts("bank.items.alt", count=len(facts.items)),
            studio.item_map(facts.items, reviews),
            texts("bank.items.note", count=len(facts.items)),
        ),
    ]
    blocks += _departures(facts, texts)
    drawn = [review for review in reviews if review.item.curve][:DRAWN]
    if drawn:
        names = texts.listed([visible(review.item.item_id) for review in drawn])
        blocks.append(
            Chart(
                texts("bank.curves.message"),
                texts("bank.curves.alt", names=names),
                studio.item_curves([review.item for review in drawn]),
                texts("bank.curves.note"),
            )
        )
    if reviews:
        blocks.append(_table(reviews, texts))
        blocks.append(Words(texts("bank.rules"), "small"))
    return Section("bank", texts("bank.title"), blocks)


def _statuses(facts: Facts, texts: Texts) -> Cards:
    counts = {
        status: sum(item.status == status for item in facts.items) for status in ("estimated", "frozen", "provisional")
    }
    anchors = sum(item.anchor for item in facts.items)
    cards = [
        Card(texts(f"bank.status.{status}.label"), texts.count(count), texts(f"bank.status.{status}.note"))
        for status, count in counts.items()
    ]
    cards.append(Card(texts("bank.status.anchor.label"), texts.count(anchors), texts("bank.status.anchor.note")))
    return Cards(cards)


def _information(facts: Facts, texts: Texts, studio: Studio) -> Chart:
    thetas = [ability.theta for ability in facts.abilities]
    learners = thetas if len(thetas) >= MIN_GROUP else []
    covered = coverage(facts.items, learners)
    peak = texts.number(covered.peak, 1, signed=True)
    message = (
        texts("bank.information.message", peak=peak, outside=texts.percent(covered.share_outside))
        if covered.share_outside is not None
        else texts("bank.information.alone", peak=peak)
    )
    return Chart(
        message,
        texts("bank.information.alt", peak=peak),
        studio.information(covered, facts.items, learners),
        texts("bank.information.note", items=len(facts.items), learners=len(learners)),
    )


def _departures(facts: Facts, texts: Texts) -> list[Block]:
    """What the calibration says of its items and learners as a whole."""
    said: list[Block] = []
    for meta in facts.quality_metas:
        sentences = [
            texts("bank.quality.items", count=meta.n_items_misfitting, of=meta.n_items_tested),
            texts("bank.quality.pairs", count=meta.n_pairs_dependent, of=meta.n_pairs),
            texts("bank.quality.shifted", count=meta.n_items_shifted, of=meta.n_items_compared, day=meta.late_from)
            if meta.shift_reason is None
            else texts("bank.quality.not_compared", reason=texts.said(meta.shift_reason)),
        ]
        if meta.n_learners_tested >= MIN_GROUP:
            share = texts.percent(meta.n_learners_misfitting / meta.n_learners_tested, 1)
            sentences.append(texts("bank.quality.learners", share=share, of=meta.n_learners_tested))
        said.append(Words(" ".join(sentences)))
    return said


def _why(review: Review, reason: str, texts: Texts) -> str:
    item = review.item
    if reason == "shifted" and item.shift is not None:
        way = "easier" if item.shift > 0 else "harder"
        return texts(f"review.shifted.{way}", shift=texts.number(abs(item.shift)))
    if reason == "dependent":
        names = texts.listed([visible(other) for other in item.depends_on[:DEPENDENT_NAMED]])
        return texts("review.dependent", names=names)
    return texts(f"review.{reason}")


def _table(reviews: list[Review], texts: Texts) -> Table:
    columns = [
        Column(texts("bank.columns.rank"), "right", 5),
        Column(texts("bank.columns.item"), "left", 16),
        Column("a", "right", 7),
        Column("b", "right", 7),
        Column(texts("bank.columns.infit"), "right", 8),
        Column(texts("bank.columns.outfit"), "right", 8),
        Column(texts("bank.columns.p_value"), "right", 9),
        Column(texts("bank.columns.n"), "right", 9),
        Column(texts("bank.columns.why"), "left", 31),
    ]
    rows = []
    for rank, review in enumerate(reviews[:LISTED], start=1):
        item = review.item
        rows.append(
            [
                texts.count(rank),
                visible(item.item_id),
                texts.number(item.a),
                texts.number(item.b),
                texts.number(item.infit),
                texts.number(item.outfit),
                texts.percent(item.p_value),
                texts.count(item.n_responses),
                texts("format.sentence").join(_why(review, reason, texts) for reason in review.reasons),
            ]
        )
    rest = len(reviews) - len(rows)
    return Table(
        "items",
        texts("bank.table", shown=len(rows), count=len(reviews)),
        columns,
        rows,
        texts("bank.rest", count=rest) if rest else "",
    )
