"""The items that carry a link: those a person tagged, else those that can.

Every sound anchor adds precision, and the test of drift finds those that moved; so no sound item is left out to make a
set look balanced. Left out are items whose parameters are loose (few answers), mean something else (answers leave the
model's curve) or changed while they were estimated (drift within the window). A misfitting item comes back where a
third of the difficulties, or a large topic, had no anchor without it: a link is to stand for the whole test (Kolen and
Brennan, 2014, section 8.1), and its slope rests on difficulties that differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Flags = NDArray[np.bool_]

#: Share of the items in common from which a topic has to have an anchor.
LARGE_TOPIC = 0.1
THIRDS = ("easiest third", "middle third", "hardest third")
#: Items named for a reason.
EXAMPLES = 3


@dataclass(frozen=True, eq=False)
class AnchorChoice:
    """The anchors of a link, and why the other items in common are none.

    Attributes:
        pool: what the anchors have in common, in words.
        items: item_id, b, topic_id, chosen, reason (why not; None where chosen) and brought_back; a row per item in
            common.
    """

    pool: str
    items: pd.DataFrame

    @property
    def anchors(self) -> pd.Series[Any]:
        """Their item ids."""
        anchors: pd.Series[Any] = self.items.loc[self.items["chosen"], "item_id"]
        return anchors

    def described(self) -> dict[str, Any]:
        """The pool, and counts and examples, ready for JSON; counts by difficulty and large topic too."""
        left_out = [
            {"reason": reason} | _counted(own["item_id"]) for reason, own in self.items.groupby("reason", sort=True)
        ]
        described: dict[str, Any] = {"pool": self.pool, "n_common": len(self.items), "left_out": left_out}
        brought_back = self.items.loc[self.items["brought_back"], "item_id"]
        if len(brought_back):
            described["brought_back"] = _counted(brought_back)
        for name, parts in (("by_difficulty", _thirds(self.items)), ("by_topic", _large_topics(self.items))):
            described[name] = {
                part: {"anchors": int((of & self.items["chosen"]).sum()), "items": int(of.sum())} for part, of in parts
            }
        return described


def choose_anchors(common: pd.DataFrame, *, least_answers: int, fewest: int, share: float = 0.0) -> AnchorChoice:
    """Choose the anchors of a link: tagged items, else sound ones; where they are under `fewest`, what there is.

    Sound is what has `least_answers` in both calibrations, fits, and did not drift in what both rest on. Where these
    are fewer than `fewest`, or than `share` of the items with so many answers, the model is what does not fit: then
    the misfitting and the drifted count too, whom the test of drift may still drop. Without `fewest` of those,
    everything that has answers in both does.

    Args:
        common: item_id, b (of the reference), topic_id, n_responses, n_responses_reference (0: documented parameters,
            taken as known), tagged and, where they are judged, misfits, misfit (how much: the larger the worse) and
            drifted.
        least_answers: in both calibrations, of a sound anchor.
        fewest: anchors that a set has to have.
        share: of the items with enough answers that has to be sound.
    """
    items = common[["item_id", "b", "topic_id"]].reset_index(drop=True).assign(brought_back=False)
    tagged = common["tagged"].to_numpy(dtype=bool)
    judged = "misfits" in common
    if not judged:
        common = common.assign(misfits=False, misfit=0.0, drifted=False)
    misfits, drifted = (common[name].to_numpy(dtype=bool) for name in ("misfits", "drifted"))
    least = common[["n_responses", "n_responses_reference"]].min(axis=1).to_numpy()
    enough, some = least >= least_answers, least > 0
    few = f"fewer than {least_answers} first attempts in one of the calibrations"
    if tagged.sum() >= fewest:
        return _choice("tagged as anchors", items, tagged, [(~tagged, "not tagged")])
    sound = enough & ~misfits & ~drifted
    back = _brought_back(items, sound, enough & ~drifted, common["misfit"].to_numpy(dtype=np.float64))
    if sound.sum() >= max(fewest, share * enough.sum()):
        return _choice(
            f"in common with {least_answers} first attempts" + (", fit and no drift" if judged else ""),
            items.assign(brought_back=back),
            sound | back,
            [
                (~enough, few),
                (drifted, "drifted in the window"),
                (misfits, "answers leave the model's curve, or hardly depend on ability"),
            ],
        )
    if enough.sum() >= fewest:
        return _choice(f"in common with {least_answers} first attempts", items, enough, [(~enough, few)])
    if some.sum() >= fewest or not (common["n_responses_reference"] == 0).all():
        return _choice("in common", items, some, [(~some, "no answers in one of the calibrations")])
    answered = common["n_responses"].to_numpy() > 0
    return _choice("with documented parameters", items, answered, [(~answered, "no answers")])


def _choice(pool: str, items: pd.DataFrame, chosen: Flags, reasons: list[tuple[Flags, str]]) -> AnchorChoice:
    """The first reason that holds for an item is the one that it is left out for."""
    why = pd.Series(None, index=items.index, dtype=object)
    for which, said in reversed(reasons):
        why[which & ~chosen] = said
    return AnchorChoice(pool, items.assign(chosen=chosen, reason=why))


def _brought_back(items: pd.DataFrame, sound: Flags, usable: Flags, badness: NDArray[np.float64]) -> Flags:
    """The least misfitting usable item of every part of the test that has no sound one."""
    back = np.zeros(len(items), dtype=bool)
    for parts in (_thirds, _large_topics):
        for _, of in parts(items[usable]):
            part = of.reindex(items.index, fill_value=False).to_numpy(dtype=bool)
            if part.any() and not (part & (sound | back)).any():
                back[np.flatnonzero(part)[np.argmin(badness[part])]] = True
    return back


def _thirds(items: pd.DataFrame) -> Iterator[tuple[str, pd.Series[bool]]]:
    third = items["b"].rank(method="first").sub(1).mul(len(THIRDS)).floordiv(max(len(items), 1))
    yield from ((name, third == number) for number, name in enumerate(THIRDS))


def _large_topics(items: pd.DataFrame) -> Iterator[tuple[str, pd.Series[bool]]]:
    shares = items["topic_id"].value_counts(normalize=True)
    yield from ((str(topic), items["topic_id"] == topic) for topic in sorted(shares.index[shares >= LARGE_TOPIC]))


def _counted(ids: pd.Series[Any]) -> dict[str, Any]:
    return {"count": len(ids), "examples": [str(item) for item in ids[:EXAMPLES]]}
