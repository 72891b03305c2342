"""Groups of learners with like habits: how many are stable, what to call them, and which they were last time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.optimize import linear_sum_assignment
from sklearn.cluster import KMeans
from sklearn.metrics import silhouette_score
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: What learners are grouped by; those in LOGGED are ratios and enter by their logarithm, hints by that of 1 + hints.
FEATURES = (
    "i_t",
    "a_t",
    "e_t",
    "r_t",
    "sessions_per_week",
    "answers_per_session",
    "hints_per_answer",
    "ability",
    "relative_time",
)
LOGGED = frozenset({"sessions_per_week", "answers_per_session"})
LOGGED_FROM_ONE = frozenset({"hints_per_answer"})

#: A label and what it stands for: features that are high (+1) or low (-1) in such a segment.
LABELS: Mapping[str, Mapping[str, int]] = {
    "short_frequent": {"sessions_per_week": 1, "answers_per_session": -1},
    "long_rare": {"sessions_per_week": -1, "answers_per_session": 1},
    "hint_heavy": {"hints_per_answer": 1},
    "improving": {"i_t": 1},
    "struggling": {"ability": -1, "r_t": -1},
    "efficient": {"ability": 1, "relative_time": -1, "e_t": 1},
}

MIN_LEARNERS = 40
MIN_CLUSTER = 10  # the report shows no smaller group
MOST_MISSING = 0.25
LIMIT = 3.0  # standard deviations; what lies further out counts as this far
STABLE = 0.6
DISSOLVED = 0.5  # Hennig (2007): below it a cluster dissolves under resampling
LEAST_SCORE = 0.25  # standard deviations in a label's direction that a segment needs to carry it
SILHOUETTE_LOSS = 0.05  # that a greater number of segments may cost
MATCH_RADIUS = 0.5  # root mean square of the differences, in standard deviations
BOOTSTRAPS = 50
SAMPLE = 2_000  # learners that stability and silhouette are judged on
SEED = 20070101


@dataclass(frozen=True)
class Scaling:
    """How features become comparable: (transformed value - center) / scale, cut off at `LIMIT`.

    `left_out`: features not used and the share of learners who lack them (1 where they do not vary).
    """

    names: tuple[str, ...]
    centers: Floats
    scales: Floats
    left_out: Mapping[str, float]

    @classmethod
    def of(cls, learners: pd.DataFrame) -> "Scaling":
        """Choose the features that enough learners have and that vary, and take their means and sds."""
        names, centers, scales, left_out = [], [], [], {}
        for name in FEATURES:
            values = _transformed(learners[name], name)
            missing = float(np.isnan(values).mean())
            spread = float(np.nanstd(values)) if missing < 1 else 0.0
            if missing > MOST_MISSING or not spread > 1e-9:
                left_out[name] = missing if missing > MOST_MISSING else 1.0
                continue
            names.append(name)
            centers.append(float(np.nanmean(values)))
            scales.append(spread)
        return cls(tuple(names), np.array(centers), np.array(scales), left_out)

    def apply(self, learners: pd.DataFrame) -> Floats:
        """Scaled features, shape (learners, features); NaN where a learner lacks one."""
        columns = [_transformed(learners[name], name) for name in self.names]
        scaled = (np.column_stack(columns) - self.centers) / self.scales
        return np.asarray(np.clip(scaled, -LIMIT, LIMIT))


def _transformed(values: "pd.Series[Any]", name: str) -> Floats:
    numbers: Floats = values.to_numpy(dtype=np.float64, na_value=np.nan)
    if name in LOGGED:
        numbers = np.log(numbers)
    elif name in LOGGED_FROM_ONE:
        numbers = np.log1p(numbers)
    return numbers


@dataclass(frozen=True)
class Candidate:
    """One number of clusters: its centroids (clusters x features) and how well they hold."""

    centroids: Floats
    jaccard: Floats
    silhouette: float
    sizes: Ints
    labels: tuple[str, ...] | None

    @property
    def flaw(self) -> str | None:
        """Why these clusters are no segments."""
        if self.jaccard.mean() < STABLE:
            return f"mean Jaccard {self.jaccard.mean():.2f}, {STABLE} needed"
        if self.jaccard.min() < DISSOLVED:
            return f"a cluster's Jaccard is {self.jaccard.min():.2f}, {DISSOLVED} needed"
        if self.sizes.min() < MIN_CLUSTER:
            return f"a cluster has {self.sizes.min()} learners, {MIN_CLUSTER} needed"
        if self.labels is None:
            return "a cluster differs from the average in nothing that has a name"
        return None


def candidates(scaled: Floats, names: Sequence[str]) -> list[Candidate]:
    """Cluster into 2 to as many clusters as there are labels, and judge each number of clusters.

    Stability is the clusterwise bootstrap of Hennig (2007): clusters are found again in resampled learners, and the
    Jaccard similarity of each to its most similar counterpart is averaged over resamples. Silhouette: Rousseeuw (1987).

    Args:
        scaled: learners x features without NaN, in a fixed order of learners.
        names: names of the features.
    """
    rng = np.random.default_rng(SEED)
    sample = np.sort(rng.choice(len(scaled), min(SAMPLE, len(scaled)), replace=False))
    judged = scaled[sample]
    found = []
    with threadpool_limits(1):  # sums of several threads differ in their last bits
        for k in range(2, min(len(LABELS), len(scaled) // MIN_CLUSTER) + 1):
            model = _k_means(k, 10).fit(scaled)
            of_judged = model.labels_[sample]
            centroids = model.cluster_centers_.astype(np.float64)
            found.append(
                Candidate(
                    centroids=centroids,
                    jaccard=_stability(judged, of_judged, k, rng),
                    silhouette=float(silhouette_score(judged, of_judged)),
                    sizes=np.bincount(model.labels_, minlength=k),
                    labels=label(centroids, names),
                )
            )
    return found


def _k_means(k: int, starts: int) -> KMeans:
    return KMeans(k, n_init=starts, random_state=SEED)


def _stability(judged: Floats, clusters: Ints, k: int, rng: np.random.Generator) -> Floats:
    """Mean Jaccard similarity of each cluster to its best counterpart in resampled learners."""
    total, times = np.zeros(k), np.zeros(k)
    for _ in range(BOOTSTRAPS):
        drawn = np.unique(rng.integers(0, len(judged), len(judged)), return_counts=True)
        again = _k_means(k, 3).fit_predict(judged[drawn[0]], sample_weight=drawn[1].astype(np.float64))
        together = np.zeros((k, k))
        np.add.at(together, (clusters[drawn[0]], again), 1)
        before, after = together.sum(axis=1), together.sum(axis=0)
        present = before > 0
        similarity = together / np.maximum(before[:, None] + after - together, 1)
        total[present] += similarity.max(axis=1)[present]
        times += present
    return np.asarray(total / np.maximum(times, 1))


def choose(found: Sequence[Candidate]) -> Candidate | None:
    """Return the flawless candidate with the most clusters whose silhouette is near the best; None without any.

    The silhouette alone favours two clusters wherever habits shade into each other, however stable finer ones are.
    """
    flawless = [each for each in found if each.flaw is None]
    best = max((each.silhouette for each in flawless), default=0.0)
    near = [each for each in flawless if each.silhouette >= best - SILHOUETTE_LOSS]
    return max(near, key=lambda each: len(each.sizes), default=None)


def label(centroids: Floats, names: Sequence[str], taken: Mapping[int, str] | None = None) -> tuple[str, ...] | None:
    """Give every cluster a label of its own, so that the scores of all are greatest in sum.

    A label's score is the mean of the centroid's scaled features in the label's direction, over those of its features
    that are used. A label of which less than half of the features are used is given to none.

    Args:
        centroids: clusters x features, scaled.
        names: names of the features.
        taken: labels that clusters have already.

    Returns:
        A label for each cluster, or None where one would have a score below `LEAST_SCORE`.
    """
    taken = taken or {}
    free = [cluster for cluster in range(len(centroids)) if cluster not in taken]
    open_labels = [each for each in LABELS if each not in taken.values() and _can_tell(each, names)]
    if len(open_labels) < len(free):
        return None
    scores = np.array([[_score(centroids[cluster], names, each) for each in open_labels] for cluster in free])
    given = dict(taken)
    if free:
        rows, columns = linear_sum_assignment(-scores)
        if scores[rows, columns].min() < LEAST_SCORE:
            return None
        given |= {free[row]: open_labels[column] for row, column in zip(rows, columns, strict=True)}
    return tuple(given[cluster] for cluster in range(len(centroids)))


def _can_tell(name: str, names: Sequence[str]) -> bool:
    """Whether half of a label's features are used: ability alone does not make a learner efficient."""
    return 2 * sum(feature in names for feature in LABELS[name]) >= len(LABELS[name])


def _score(centroid: Floats, names: Sequence[str], name: str) -> float:
    directed = [sign * centroid[names.index(feature)] for feature, sign in LABELS[name].items() if feature in names]
    return float(np.mean(directed))


def match(centroids: Floats, scaling: Scaling, last_centroids: Floats, last_scaling: Scaling) -> dict[int, int]:
    """Find which clusters of the last run the clusters of this one continue.

    The new centroids are put on the last run's scale, features that only one run used are passed over, and the pairs
    of the least total distance are taken (Kuhn, 1955), but for pairs that lie further apart than `MATCH_RADIUS`.

    Returns:
        The last run's cluster by this run's cluster.
    """
    common = [name for name in scaling.names if name in last_scaling.names]
    if not common:
        return {}
    new, last = ([each.names.index(name) for name in common] for each in (scaling, last_scaling))
    unscaled = centroids[:, new] * scaling.scales[new] + scaling.centers[new]
    rescaled = (unscaled - last_scaling.centers[last]) / last_scaling.scales[last]
    apart = np.sqrt(((rescaled[:, None] - last_centroids[None][:, :, last]) ** 2).mean(axis=2))
    pairs = zip(*linear_sum_assignment(apart), strict=True)
    return {int(row): int(column) for row, column in pairs if apart[row, column] <= MATCH_RADIUS}


def relabel(candidate: Candidate, names: Sequence[str], continued: Mapping[int, str]) -> tuple[str, ...]:
    """Labels of the clusters: that of the last run where a cluster continues one and the label still describes it."""
    kept = {
        cluster: name
        for cluster, name in continued.items()
        if _can_tell(name, names) and _score(candidate.centroids[cluster], names, name) > 0
    }
    labels = label(candidate.centroids, names, kept) or candidate.labels
    assert labels is not None, "a candidate without labels is not chosen"
    return labels


def place(scaled: Floats, centroids: Floats) -> pd.DataFrame:
    """Put every learner into the nearest cluster.

    Where a learner lacks features, the squared distance over the known ones is scaled up to all (Dixon, 1979).

    Returns:
        DataFrame, one row a learner: cluster, distance (standard deviations) and membership, the fuzzy membership
        1 / sum_k (d / d_k)^2 of Bezdek (1981) with exponent 2, in [1 / clusters, 1].
    """
    known = ~np.isnan(scaled)
    filled = np.where(known, scaled, 0.0)
    squared = (filled**2).sum(axis=1)[:, None] - 2 * filled @ centroids.T + known @ (centroids**2).T
    squared = np.maximum(squared, 0) * (scaled.shape[1] / known.sum(axis=1))[:, None]
    cluster = squared.argmin(axis=1)
    nearest = squared[np.arange(len(squared)), cluster]
    ratio = np.divide(nearest[:, None], squared, out=np.ones_like(squared), where=squared > 0)
    return pd.DataFrame({"cluster": cluster, "distance": np.sqrt(nearest), "membership": 1 / ratio.sum(axis=1)})
