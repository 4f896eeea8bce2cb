"""
The linear models: weights on features, and weights on buckets of features and on their crosses.

Both take the place of trees through the same door (`ranker.Ranker`), and both can be read: a weight
for a feature, or for a range of its values.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from ranking_service.models import kernels

BUCKET_COUNT: Final = 8
"""Buckets of a feature, about equally full. Guess."""
CROSS_FEATURE_COUNT_MAX: Final = 8
"""The features that say most by themselves are crossed with each other. Guess."""


@dataclass(frozen=True, slots=True)
class LinearModel:
    """
    Weighted sum of features.

    Attributes:
        weights: One for each column, float64[f], on the features as they are.
        bias: Added.
        means: Of the training rows, float64[f]: contributions are told against them.
    """

    weights: NDArray[np.float64]
    bias: float
    means: NDArray[np.float64]

    def sums(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """float64[n]; a row's sum depends on that row only."""
        total = np.full(features.shape[0], self.bias)
        for column in np.flatnonzero(self.weights):
            total += features[:, column] * self.weights[column]
        return total

    def contributions(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """What each feature adds against its mean, float64[n, f]."""
        return np.asarray((features - self.means) * self.weights, np.float64)

    def described(self) -> dict[str, Any]:
        """Everything, for a file."""
        return {
            "weights": self.weights.tolist(),
            "bias": self.bias,
            "means": self.means.tolist(),
        }

    @classmethod
    def of(cls, described: Mapping[str, Any], feature_count: int) -> Self:
        """
        Read what `described` gave.

        Raises:
            ValueError: If it is not for so many features, or not finite.
        """
        weights = np.array(described["weights"], np.float64)
        means = np.array(described["means"], np.float64)
        bias = float(described["bias"])
        if weights.shape != (feature_count,) or means.shape != (feature_count,):
            raise ValueError(f"{weights.size} weights for {feature_count} features")
        if not np.isfinite([*weights, *means, bias]).all():
            raise ValueError("a weight is not finite")
        return cls(weights, bias, means)


@dataclass(frozen=True, slots=True)
class BucketModel:
    """
    Weighted sum of buckets and of crossed buckets.

    Attributes:
        columns: Columns that are looked at, int64[k].
        edges: Upper ends of their buckets, float32[k, BUCKET_COUNT - 1].
        weights: float64[k, BUCKET_COUNT].
        crosses: Pairs of places in *columns*, int64[c, 2].
        cross_weights: float64[c, BUCKET_COUNT ** 2].
        bias: Added.
        means: Mean weight of each column over the training rows, float64[k].
    """

    columns: NDArray[np.int64]
    edges: NDArray[np.float32]
    weights: NDArray[np.float64]
    crosses: NDArray[np.int64]
    cross_weights: NDArray[np.float64]
    bias: float
    means: NDArray[np.float64]

    def codes(self, features: NDArray[np.float32]) -> NDArray[np.int32]:
        """Bucket of each value, int32[n, k]."""
        return np.asarray(
            kernels.bucket_codes(
                np.ascontiguousarray(features, np.float32), self.columns, self.edges, BUCKET_COUNT
            )
        )

    def sums(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """float64[n]; a row's sum depends on that row only."""
        return np.asarray(
            kernels.bucket_sums(
                self.codes(features),
                self.weights,
                self.crosses,
                self.cross_weights,
                BUCKET_COUNT,
                self.bias,
            )
        )

    def contributions(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """What each feature adds against its mean, crosses half to each, float64[n, f]."""
        codes = self.codes(features)
        out = np.zeros(features.shape, np.float64)
        for place, column in enumerate(self.columns):
            out[:, column] += self.weights[place, codes[:, place]] - self.means[place]
        for (first, second), weights in zip(self.crosses, self.cross_weights, strict=True):
            half = weights[codes[:, first] * BUCKET_COUNT + codes[:, second]] / 2.0
            out[:, self.columns[first]] += half
            out[:, self.columns[second]] += half
        return out

    def described(self) -> dict[str, Any]:
        """Everything, for a file."""
        arrays = ("columns", "edges", "weights", "crosses", "cross_weights", "means")
        return {name: getattr(self, name).tolist() for name in arrays} | {"bias": self.bias}

    @classmethod
    def of(cls, described: Mapping[str, Any], feature_count: int) -> Self:
        """
        Read what `described` gave.

        Raises:
            ValueError: If the arrays do not fit each other or the features, or are not finite.
        """
        columns = np.array(described["columns"], np.int64)
        k = columns.size
        model = cls(
            columns,
            np.array(described["edges"], np.float32).reshape(k, BUCKET_COUNT - 1),
            np.array(described["weights"], np.float64).reshape(k, BUCKET_COUNT),
            np.array(described["crosses"], np.int64).reshape(-1, 2),
            np.array(described["cross_weights"], np.float64).reshape(-1, BUCKET_COUNT**2),
            float(described["bias"]),
            np.array(described["means"], np.float64).reshape(k),
        )
        places = [*model.crosses.ravel().tolist(), 0]
        if k and not 0 <= columns.min() <= columns.max() < feature_count:
            raise ValueError("a bucket is of a feature that there is not")
        if not 0 <= min(places) <= max(places) < max(k, 1):
            raise ValueError("a cross is of a feature that has no buckets")
        if len(model.crosses) != len(model.cross_weights):
            raise ValueError("crosses and their weights differ in number")
        parts = (model.weights, model.cross_weights, np.array([model.bias]))
        if not all(np.isfinite(part).all() for part in parts):
            raise ValueError("a weight is not finite")
        return model


def fit_pairwise(
    features: NDArray[np.float32],
    better: NDArray[np.int64],
    worse: NDArray[np.int64],
    *,
    seed: int,
    strength: float = 1e-4,
) -> LinearModel:
    """
    Weights by which the better of each pair stands a margin above the worse (hinge loss).

    Args:
        features: float32[n, f].
        better: Rows, int64[p].
        worse: Rows, int64[p].
        seed: Of the descent's order.
        strength: Of the ridge on the standardised weights.

    Raises:
        ValueError: If there is no pair.

    Source: Joachims 2002 (RankSVM).
    """
    from sklearn.linear_model import SGDClassifier

    if not better.size:
        raise ValueError("no pair to learn from")
    means, scales = _moments(features)
    rows = (features[better].astype(np.float64) - features[worse]) / scales
    signs = np.where(np.arange(better.size) % 2 == 0, 1, -1)
    descent = SGDClassifier(
        loss="hinge",
        alpha=strength,
        fit_intercept=False,
        average=True,
        max_iter=30,
        tol=None,
        random_state=seed,
    )
    descent.fit(rows * signs[:, None], signs if signs.size > 1 else np.ones(1, int))
    return LinearModel(descent.coef_[0] / scales, 0.0, means)


def fit_buckets(
    features: NDArray[np.float32],
    labels: NDArray[np.int8],
    weights: NDArray[np.float64],
    *,
    strength: float = 1.0,
) -> BucketModel:
    """
    Logistic regression on bucketed features and on crosses of those that say most.

    A linear model says nothing of curves and combinations by itself; buckets give it the ones,
    crosses the others.

    Args:
        features: float32[n, f].
        labels: int8[n], both kinds.
        weights: Of each example, float64[n].
        strength: Inverse of the ridge.
    """
    import scipy.sparse as sp
    from sklearn.linear_model import LogisticRegression

    columns = np.flatnonzero(features.min(axis=0) < features.max(axis=0)).astype(np.int64)
    shares = np.arange(1, BUCKET_COUNT) / BUCKET_COUNT
    edges = np.quantile(features[:, columns], shares, axis=0).T.astype(np.float32)
    edges = np.ascontiguousarray(edges.reshape(columns.size, BUCKET_COUNT - 1))
    codes = kernels.bucket_codes(features, columns, edges, BUCKET_COUNT)
    crosses = _crosses(codes, labels)
    parts = [codes + np.arange(columns.size) * BUCKET_COUNT]
    begin = columns.size * BUCKET_COUNT
    for number, (first, second) in enumerate(crosses):
        crossed = codes[:, first] * BUCKET_COUNT + codes[:, second]
        parts.append((begin + number * BUCKET_COUNT**2 + crossed)[:, None])
    indices = np.concatenate(parts, axis=1)
    width = begin + len(crosses) * BUCKET_COUNT**2
    offsets = np.arange(len(features) + 1) * indices.shape[1]
    ones = np.ones(indices.size, np.float64)
    rows = sp.csr_matrix((ones, indices.ravel(), offsets), shape=(len(features), width))
    regression = LogisticRegression(C=strength, max_iter=200, tol=1e-4)
    regression.fit(rows, labels, sample_weight=weights)
    found = regression.coef_[0]
    by_bucket = found[:begin].reshape(columns.size, BUCKET_COUNT)
    means = np.array([by_bucket[c, codes[:, c]].mean() for c in range(columns.size)])
    return BucketModel(
        columns,
        edges,
        by_bucket,
        np.array(crosses, np.int64).reshape(-1, 2),
        found[begin:].reshape(-1, BUCKET_COUNT**2),
        float(regression.intercept_[0]),
        means,
    )


def _moments(features: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Means and scales of the columns; the scale of a constant one is 1."""
    means = features.mean(axis=0, dtype=np.float64)
    scales = features.std(axis=0, dtype=np.float64)
    return means, np.where(scales > 1e-9, scales, 1.0)


def _crosses(codes: NDArray[np.int32], labels: NDArray[np.int8]) -> Sequence[tuple[int, int]]:
    """All pairs of the features whose buckets differ most in their share of positives."""
    overall = labels.mean()
    spread = []
    for column in codes.T:
        counts = np.bincount(column, minlength=BUCKET_COUNT)
        positives = np.bincount(column, weights=labels, minlength=BUCKET_COUNT)
        shares = positives / np.maximum(counts, 1)
        spread.append(float((counts * (shares - overall) ** 2).sum()))
    top = np.argsort(spread, kind="stable")[::-1][:CROSS_FEATURE_COUNT_MAX]
    chosen = sorted(top.tolist())
    return [(first, second) for first in chosen for second in chosen if first < second]
