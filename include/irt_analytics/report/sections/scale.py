"""How this calibration hangs on the published scale: linking constants and drifted anchors."""

from statistics import median

from irt_analytics.report.document import Align, Block, Chart, Column, Section, Table, Words
from irt_analytics.report.facts import Facts, Fit, Item
from irt_analytics.report.figures import Studio
from irt_analytics.report.markup import visible
from irt_analytics.report.texts import NOTHING, Texts

#: Anchors needed in both banks for a picture.
MIN_ANCHORS = 3


def section(facts: Facts, texts: Texts, studio: Studio) -> Section:
    """Return the section of the scale."""
    fit = facts.fit("current")
    if fit is None:
        return Section("scale", texts("scale.title"), [Words(texts("bank.none"))])
    blocks: list[Block] = [Words(texts("scale.lead"), "lead"), *_link(fit, texts), *_anchors(facts, texts, studio)]
    refused = facts.fit("refused")
    if refused is not None:
        blocks.append(Words(texts("scale.refused", reason=visible(refused.reason or NOTHING))))
    return Section("scale", texts("scale.title"), blocks)


def _link(fit: Fit, texts: Texts) -> list[Block]:
    link = fit.linking_constants
    if not link or not link["n_anchors_used"]:
        return [Words(texts("scale.first", day=fit.as_of))]
    names: tuple[tuple[str, Align, int], ...] = (
        ("constant", "left", 12),
        ("value", "right", 12),
        ("se", "right", 18),
        ("meaning", "left", 58),
    )
    columns = [Column(texts(f"scale.columns.{name}"), align, width) for name, align, width in names]
    rows = [
        ["A", texts.number(link["A"], 3), texts.number(link.get("se_A"), 3), texts("scale.meaning.A")],
        ["B", texts.number(link["B"], 3, signed=True), texts.number(link.get("se_B"), 3), texts("scale.meaning.B")],
    ]
    table = Table(
        "link",
        texts("scale.table", method=texts.known("methods", str(link["method"])), count=int(link["n_anchors_used"])),
        columns,
        rows,
        texts("scale.formula"),
    )
    return [table]


def _anchors(facts: Facts, texts: Texts, studio: Studio) -> list[Block]:
    before = {item.item_id: item for item in facts.items_before}
    pairs = [(before[item.item_id], item) for item in facts.items if item.anchor and item.item_id in before]
    drifted = [item for item in facts.items if item.drifted]
    blocks: list[Block] = []
    if len(pairs) >= MIN_ANCHORS:
        moved = sum(item.drifted for _, item in pairs)
        message = (
            texts("scale.anchors.drifted", moved=moved, count=len(pairs))
            if moved
            else texts("scale.anchors.moved", count=len(pairs), median=texts.number(_median_move(pairs)))
        )
        blocks.append(
            Chart(
                message,
                texts("scale.anchors.alt", count=len(pairs)),
                studio.anchors(pairs),
                texts("scale.anchors.note", count=len(pairs)),
            )
        )
    if drifted:
        blocks.append(_drifted(drifted, before, texts))
    elif any(item.drift_statistic is not None for _, item in pairs):
        blocks.append(Words(texts("scale.none_drifted")))
    return blocks


def _median_move(pairs: list[tuple[Item, Item]]) -> float:
    """Median absolute change of the anchors' difficulties, logits."""
    return median(abs(now.b - before.b) for before, now in pairs)


def _drifted(drifted: list[Item], before: dict[str, Item], texts: Texts) -> Table:
    names = (("item", 40), ("before", 15), ("now", 15), ("statistic", 18), ("p", 12))
    columns = [
        Column(texts(f"scale.drift.{name}"), "left" if name == "item" else "right", width) for name, width in names
    ]
    rows = [
        [
            visible(item.item_id),
            texts.number(before[item.item_id].b) if item.item_id in before else NOTHING,
            texts.number(item.b),
            texts.number(item.drift_statistic),
            texts.number(item.drift_p_value, 3),
        ]
        for item in sorted(drifted, key=lambda item: (item.drift_p_value or 0, item.item_id))
    ]
    return Table("drifted", texts("scale.drift.title", count=len(drifted)), columns, rows, texts("scale.drift.note"))
