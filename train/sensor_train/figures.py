"""Judging by events and incidents, as the sensor counts them."""

import numpy as np

from .sequences import ATTACK, BENIGN

HOUR_NS = 3_600_000_000_000


def incidents(data, score, wanted):
    """Scores at which false incidents begin, descending: of one source within an hour one counts."""
    best = {}
    for i in np.flatnonzero(wanted & (data.label == BENIGN)):
        key = (data.capture[i], data.source[i], data.at_ns[i] // HOUR_NS)
        best[key] = max(best.get(key, -1.0), float(score[i]))
    return np.sort(np.array(list(best.values()), dtype=np.float64))[::-1]


def in_a_row(data, score, n):
    """The least of the latest n scores of a source with a host: of fewer, 0."""
    found = np.zeros(len(score), np.float32)
    latest = {}
    for i in np.lexsort((data.at_ns, data.capture)):
        own = latest.setdefault((data.capture[i], data.source[i], data.host[i]), [])
        own.append(float(score[i]))
        del own[:-n]
        if len(own) == n:
            found[i] = min(own)
    return found


def hours(data, captures):
    return sum(data.captures[c]["benign_hours"] for c in captures)


def threshold(data, score, wanted, captures, per_day):
    """Least score with at most so many false incidents a day on these captures."""
    found = incidents(data, score, wanted)
    allowed = int(per_day * hours(data, captures) / 24.0)
    if len(found) <= allowed:
        return float(max(0.5, np.nextafter(found[0], 2.0))) if len(found) else 0.5
    return float(np.nextafter(found[allowed], 2.0))


def events(data, is_job):
    """Events of the job that there are sequences of: (capture, event) with their places."""
    found = {}
    for i in np.flatnonzero(data.label == ATTACK):
        key = (int(data.capture[i]), int(data.event[i]))
        about = data.captures[key[0]]["events"][key[1]]
        if is_job(about["attack"]):
            found.setdefault(key, []).append(i)
    return found


def all_events(data, is_job):
    """Events of the job, with those that give no sequence."""
    return [
        (c, e, about)
        for c, capture in enumerate(data.captures)
        for e, about in enumerate(capture["events"])
        if is_job(about["attack"])
    ]


def curve(score, label):
    """Precision and recall over all thresholds, and the area below (average precision)."""
    order = np.argsort(-score, kind="stable")
    hit = (label[order] == ATTACK).astype(np.float64)
    n_hit = np.cumsum(hit)
    precision = n_hit / np.arange(1, len(hit) + 1)
    recall = n_hit / max(1.0, n_hit[-1] if len(n_hit) else 1.0)
    area = float(np.sum(precision * hit) / max(1.0, hit.sum()))
    return precision, recall, area


def roc_area(score, label):
    """Probability that an attack's score is above an ordinary one's."""
    attack, benign = np.sort(score[label == ATTACK]), np.sort(score[label == BENIGN])
    if not len(attack) or not len(benign):
        return float("nan")
    below = np.searchsorted(benign, attack, "left") + np.searchsorted(benign, attack, "right")
    return float(below.mean() / (2.0 * len(benign)))
