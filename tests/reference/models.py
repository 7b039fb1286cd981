"""Writes models.txt: what published implementations say of vectors that the engine's tests make too.

    pip install -r requirements.txt && python models.py > models.txt

The vectors come from SplitMix64, as in sensor/engine/src/models/rng.rs, so that only answers are
recorded. A line is a name and its values.
"""

import importlib.metadata
import sys

import numpy as np
import rrcf
from pysad.models.kitnet_model.KitNET import KitNET
from river import anomaly, drift
from sklearn.cluster import KMeans
from sklearn.ensemble import IsolationForest
from sklearn.metrics import roc_auc_score
from sklearn.mixture import GaussianMixture

COLUMNS = 16


class Rng:
    """SplitMix64 (Steele, Lea and Flood 2014)."""

    MASK = (1 << 64) - 1

    def __init__(self, seed):
        self.state = seed

    def next(self):
        self.state = (self.state + 0x9E3779B97F4A7C15) & self.MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & self.MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & self.MASK
        return z ^ (z >> 31)

    def unit(self):
        return (self.next() >> 40) / 16_777_216

    def below(self, n):
        return ((self.next() >> 32) * n) >> 32


def normal(rng):
    """Two modes, the first eight columns correlated within each."""
    mode = 1.0 if rng.below(3) == 0 else -0.5
    common = rng.unit() - 0.5
    own = [0.4 * (rng.unit() - 0.5) for _ in range(COLUMNS)]
    sign = [1.0, -1.0]
    return np.array([mode + sign[i % 2] * common + x if i < 8 else x for i, x in enumerate(own)])


def outlier(rng):
    """Two columns out of their usual range."""
    x = normal(rng)
    for i in (1, 9, 12):
        x[i] = 0.5 + rng.unit()
    return x


def broken(rng):
    """Columns each usual, not together."""
    x = normal(rng)
    for i in (0, 4):
        x[i] = -x[i] if x[i] > 0.2 else 1.0
    return x


def some(make, rng, n):
    return np.array([make(rng) for _ in range(n)])


def say(name, values):
    print(name, *(f"{value:.6g}" for value in np.atleast_1d(values)))


def isolation_forest():
    rng = Rng(11)
    train = some(normal, rng, 1024)
    probes = np.vstack([some(normal, rng, 10), some(outlier, rng, 10)])
    forest = IsolationForest(n_estimators=2000, max_samples=128, random_state=1).fit(train)
    say("isolation_forest.scores", -forest.score_samples(probes))


def half_space_trees():
    rng = Rng(12)
    limits = {i: (-4, 4) for i in range(COLUMNS)}
    trees = anomaly.HalfSpaceTrees(n_trees=24, height=8, window_size=256, limits=limits, seed=1)
    for x in some(normal, rng, 3_000):
        trees.learn_one(dict(enumerate(x)))
    usual = [trees.score_one(dict(enumerate(x))) for x in some(normal, rng, 300)]
    odd = [trees.score_one(dict(enumerate(x))) for x in some(outlier, rng, 300)]
    say("half_space_trees.auc", roc_auc_score([0] * 300 + [1] * 300, usual + odd))


def robust_cut_forest():
    """Mean share of a tree that a point displaces: its sibling's mass, over trees and insertions."""
    rng = Rng(13)
    points = some(normal, rng, 128)
    probes = np.vstack([some(normal, rng, 4), some(outlier, rng, 4)])
    shares = np.zeros((2000, len(probes)))
    for n, row in enumerate(shares):
        tree = rrcf.RCTree(points, random_state=n)
        for i, probe in enumerate(probes):
            tree.insert_point(probe, index="probe")
            row[i] = tree.disp("probe") / len(points)
            tree.forget_point("probe")
    say("robust_cut_forest.displaced", shares.mean(axis=0))
    say("robust_cut_forest.errors", shares.std(axis=0) / np.sqrt(len(shares)))


def kitnet():
    rng = Rng(14)
    net = KitNET(COLUMNS, max_autoencoder_size=8, FM_grace_period=256, AD_grace_period=2744, random_state=1)
    for x in some(normal, rng, 3_000):
        net.process(x)
    usual = [net.execute(x) for x in some(normal, rng, 300)]
    for make in (outlier, broken):
        odd = [net.execute(x) for x in some(make, rng, 300)]
        say(f"kitnet.auc.{make.__name__}", roc_auc_score([0] * 300 + [1] * 300, usual + odd))
    say("kitnet.correlations", np.abs(np.corrcoef(some(normal, Rng(14), 256).T))[0])


def mixture():
    rng = Rng(15)
    train = some(normal, rng, 5_000)
    probes = np.vstack([some(normal, rng, 300)])
    given = GaussianMixture(2, covariance_type="diag")
    given.weights_ = np.array([0.25, 0.75])
    given.means_ = np.array([[0.5] * COLUMNS, [-1.0] * COLUMNS])
    variances = np.array([[0.5] * COLUMNS, [2.0] * COLUMNS])
    given.covariances_ = variances
    given.precisions_cholesky_ = 1 / np.sqrt(variances)
    say("mixture.densities", given.score_samples(probes[:8]))
    fitted = GaussianMixture(6, covariance_type="diag", reg_covar=0.05, n_init=5, random_state=1).fit(train)
    say("mixture.mean_density", fitted.score(probes))


def clusters():
    rng = Rng(16)
    train = some(normal, rng, 5_000)
    fitted = KMeans(12, n_init=5, random_state=1).fit(train)
    say("clusters.mean_distance", fitted.transform(some(normal, rng, 300)).min(axis=1).mean())


def adwin():
    """Values until a change of the mean is found, 4,000 after the begin."""
    for low, high in ((0.3, 0.7), (0.4, 0.6), (0.2, 0.3)):
        rng = Rng(17)
        detector = drift.ADWIN(delta=1e-4)
        found = None
        for n in range(12_000):
            rate = low if n < 4_000 else high
            detector.update(float(rng.unit() < rate))
            if detector.drift_detected and found is None:
                found = n
        say(f"adwin.found.{low}.{high}", found)


if __name__ == "__main__":
    versions = ("numpy", "scikit-learn", "river", "rrcf", "pysad")
    print("# models.py with", ", ".join(f"{name} {importlib.metadata.version(name)}" for name in versions))
    first = normal(Rng(1))
    say("vectors.first", first)
    for part in (isolation_forest, half_space_trees, robust_cut_forest, kitnet, mixture, clusters, adwin):
        part()
        sys.stdout.flush()
