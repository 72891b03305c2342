"""Segments: groups that fall apart next week, or change their name, would send teachers after ghosts."""

from itertools import permutations

import numpy as np
import pandas as pd
import pytest

from irt_analytics.jobs import _segments as segments
from irt_analytics.jobs._segments import FEATURES, LABELS, Candidate, Scaling

NAMES = FEATURES


def direction(label: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """A centroid two standard deviations out in the directions of a label."""
    return np.array([2.0 * LABELS[label].get(name, 0) for name in NAMES])


def blobs(labels: list[str], size: int, spread: float) -> tuple[segments.Floats, segments.Ints]:
    rng = np.random.default_rng(3)
    of = np.repeat(np.arange(len(labels)), size)
    centers = np.stack([direction(label) for label in labels])
    return centers[of] + rng.normal(0, spread, (len(of), len(NAMES))), of


def test_planted_segments_are_found_and_named() -> None:
    planted = list(LABELS)
    scaled, of = blobs(planted, 60, 0.5)
    found = segments.candidates(scaled, NAMES)
    chosen = segments.choose(found)
    assert chosen is not None
    assert chosen.labels is not None
    assert sorted(chosen.labels) == sorted(planted)
    assert chosen.jaccard.min() > 0.95
    placed = segments.place(scaled, chosen.centroids)
    named = np.array(chosen.labels)[placed["cluster"]]
    assert (named == np.array(planted)[of]).mean() > 0.99


def test_learners_without_structure_have_no_segments() -> None:
    """A single cloud can always be cut, and every cut falls elsewhere in another sample."""
    scaled = np.random.default_rng(4).normal(size=(600, len(NAMES)))
    found = segments.candidates(scaled, NAMES)
    assert segments.choose(found) is None
    assert all(each.flaw for each in found)
    assert max(each.jaccard.mean() for each in found if len(each.sizes) > 2) < segments.STABLE


def test_the_same_learners_give_the_same_segments() -> None:
    scaled, _ = blobs(["improving", "struggling", "long_rare"], 50, 1.0)
    one, two = (segments.candidates(scaled, NAMES) for _ in range(2))
    for left, right in zip(one, two, strict=True):
        assert np.array_equal(left.centroids, right.centroids)
        assert np.array_equal(left.jaccard, right.jaccard)


def test_jaccard_of_a_resample_against_sets() -> None:
    """The contingency table's arithmetic against the definition |A and B| / |A or B| (Hennig, 2007)."""
    scaled, of = blobs(["improving", "struggling"], 40, 1.5)
    rng, again = np.random.default_rng(8), np.random.default_rng(8)
    mean = segments._stability(scaled, of, 2, rng)
    expected = []
    for _ in range(segments.BOOTSTRAPS):
        drawn, weights = np.unique(again.integers(0, len(of), len(of)), return_counts=True)
        clusters = segments._k_means(2, 3).fit_predict(scaled[drawn], sample_weight=weights.astype(float))
        rows = []
        for cluster in range(2):
            own = set(drawn[of[drawn] == cluster])
            others = [set(drawn[clusters == other]) for other in range(2)]
            rows.append(max(len(own & other) / len(own | other) for other in others))
        expected.append(rows)
    assert mean == pytest.approx(np.mean(expected, axis=0))


def _candidate(sizes: int, silhouette: float, jaccard: float = 0.9, smallest: int = 20) -> Candidate:
    return Candidate(
        centroids=np.zeros((sizes, 1)),
        jaccard=np.full(sizes, jaccard),
        silhouette=silhouette,
        sizes=np.full(sizes, smallest),
        labels=tuple(list(LABELS)[:sizes]),
    )


def test_finer_segments_win_where_they_are_stable_and_hardly_less_apart() -> None:
    coarse, fine = _candidate(2, 0.30), _candidate(5, 0.27)
    assert segments.choose([coarse, fine]) is fine
    assert segments.choose([coarse, _candidate(5, 0.20)]) is coarse
    assert segments.choose([coarse, _candidate(5, 0.27, jaccard=0.59)]) is coarse
    assert segments.choose([_candidate(3, 0.3, smallest=9)]) is None
    assert _candidate(3, 0.3, jaccard=0.59).flaw == "mean Jaccard 0.59, 0.6 needed"


def test_labels_are_unique_and_best_in_sum() -> None:
    """Two clusters may not carry one name; against the best of all assignments."""
    centroids = np.random.default_rng(5).normal(0, 1.5, (4, len(NAMES)))
    given = segments.label(centroids, NAMES)
    scores = [[segments._score(centroid, NAMES, label) for label in LABELS] for centroid in centroids]
    best = max(
        permutations(range(len(LABELS)), 4),
        key=lambda pick: sum(scores[row][column] for row, column in enumerate(pick)),
    )
    if min(scores[row][column] for row, column in enumerate(best)) < segments.LEAST_SCORE:
        assert given is None
    else:
        assert given == tuple(list(LABELS)[column] for column in best)
    assert segments.label(np.stack([direction(label) for label in LABELS]), NAMES) == tuple(LABELS)


def test_a_cluster_like_everybody_has_no_name() -> None:
    assert segments.label(np.stack([direction("improving"), np.zeros(len(NAMES))]), NAMES) is None


def test_a_label_needs_a_feature_that_is_recorded() -> None:
    """A platform that records no hints has no learners who use many, and one name fewer."""
    recorded = [index for index, name in enumerate(NAMES) if name != "hints_per_answer"]
    names = [NAMES[index] for index in recorded]
    others = [label for label in LABELS if label != "hint_heavy"]
    assert segments.label(np.stack([direction(label)[recorded] for label in others]), names) == tuple(others)
    assert segments.label(np.stack([direction(label)[recorded] for label in LABELS]), names) is None


def test_ability_alone_makes_nobody_efficient() -> None:
    """Where times are not recorded nobody can be called quick; the abler group needs another name or none."""
    untimed = [index for index, name in enumerate(NAMES) if name not in ("relative_time", "e_t")]
    names = [NAMES[index] for index in untimed]
    able, others = direction("efficient")[untimed], direction("struggling")[untimed]
    assert segments.label(np.stack([able, others]), names) is None


def test_clusters_are_matched_across_scales_and_features() -> None:
    """Next week's means and sds differ; a segment must still be recognised, and a new one must not be taken for it."""
    rng = np.random.default_rng(6)
    old_names, new_names = NAMES[:-1], NAMES[1:]
    old = Scaling(old_names, rng.normal(size=8), rng.uniform(0.5, 2, 8), {})
    new = Scaling(new_names, rng.normal(size=8), rng.uniform(0.5, 2, 8), {})
    last = rng.normal(0, 2, (4, 8))
    raw = last * old.scales + old.centers
    order = [2, 0, 3]
    centroids = rng.normal(0, 2, (4, 8))
    for row, column in enumerate(order):
        for name in NAMES[1:-1]:
            value = raw[column, old_names.index(name)]
            scaled = (value - new.centers[new_names.index(name)]) / new.scales[new_names.index(name)]
            centroids[row, new_names.index(name)] = scaled
    centroids[3] = 30.0
    assert segments.match(centroids, new, last, old) == dict(enumerate(order))


def test_a_continued_segment_keeps_its_label_while_it_is_true() -> None:
    centroids = np.stack([direction("improving") + 0.8 * direction("efficient"), direction("struggling")])
    candidate = Candidate(centroids, np.ones(2), 0.5, np.array([30, 30]), segments.label(centroids, NAMES))
    assert candidate.labels == ("improving", "struggling")
    assert segments.relabel(candidate, NAMES, {0: "efficient"}) == ("efficient", "struggling")
    assert segments.relabel(candidate, NAMES, {0: "hint_heavy", 1: "struggling"}) == ("improving", "struggling")


def test_membership_and_distance_by_hand() -> None:
    """Distances 1 and 3 give 0.9 and 0.1 (Bezdek, 1981); a missing feature is made up for by the known ones."""
    centroids = np.array([[0.0, 0.0], [4.0, 0.0]])
    placed = segments.place(np.array([[1.0, 0.0], [4.0, 0.0], [1.0, np.nan]]), centroids)
    assert placed["cluster"].tolist() == [0, 1, 0]
    assert placed["membership"].tolist() == pytest.approx([0.9, 1.0, 0.9])
    assert placed["distance"].tolist() == pytest.approx([1.0, 0.0, np.sqrt(2)])


def test_scaling_leaves_out_what_is_missing_or_constant() -> None:
    rng = np.random.default_rng(1)
    learners = pd.DataFrame({name: rng.uniform(0.5, 2.0, 100) for name in FEATURES})
    learners.loc[:25, "e_t"] = np.nan
    learners.loc[:24, "r_t"] = np.nan
    learners["hints_per_answer"] = 0.0
    scaling = Scaling.of(learners)
    assert scaling.left_out == {"e_t": pytest.approx(0.26), "hints_per_answer": 1.0}
    scaled = scaling.apply(learners)
    assert np.isnan(scaled).sum() == 25
    logged = np.log(learners["sessions_per_week"])
    column = scaled[:, scaling.names.index("sessions_per_week")]
    assert column == pytest.approx(((logged - logged.mean()) / logged.std(ddof=0)).to_numpy())
    assert np.nanmax(np.abs(scaled)) <= segments.LIMIT
