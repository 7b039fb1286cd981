"""python -m sensor_train contacts labelled.seq --output models/contacts"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch

from . import augment, export, figures, training, usual
from .networks import NETWORKS
from .sequences import BENIGN, read

# Attacks that are the job of a network: over contacts calls home and tunnels, over the packets of sessions guessing;
# what a host's minute is odd by may be any attack.
JOBS = {
    "contacts": ("c2", "tunnel", "exfiltration", "cryptominer"),
    "packets": ("bruteforce",),
    "minute": ("all",),
}
# What the detectors call them.
FAMILIES = {
    "contacts": ("beacon", "dns_tunnel", "icmp_tunnel", "suspect_call", "exfiltration"),
    "packets": ("brute_force",),
    "minute": ("behaviour_anomaly",),
}


def arguments(argv):
    parser = argparse.ArgumentParser(prog="python -m sensor_train", description=__doc__)
    parser.add_argument("kind", choices=list(JOBS), help="kind of sequences")
    parser.add_argument("file", help="file of labelled sequences (sensor train --sequences)")
    parser.add_argument("--network", choices=list(NETWORKS), default="gru")
    parser.add_argument("--output", type=Path, required=True, help="files to write, without their endings")
    parser.add_argument("--folds", type=int, default=10, help="folds of whole groups; 0: one for each group")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--false-per-day", type=float, default=0.3, help="false incidents a day of the threshold")
    parser.add_argument("--width", type=int, default=16, help="channels of the network, or of its state")
    parser.add_argument("--words", help="words in the names of the attacks to learn, by commas; all: every attack")
    parser.add_argument("--run", type=int, default=1, help="sequences of a source with a host that have to agree")
    parser.add_argument("--usual", action="store_true", help="judge a host's minute by that host's minutes before")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args(argv)


def job(words):
    """True for attacks whose name has one of the words between its underscores."""
    if words == ("all",):
        return lambda name: True
    return lambda name: any(
        part == word or (len(word) > 3 and word in part)
        for part in name.lower().replace("-", "_").split("_")
        for word in words
    )


def judge(data, args, is_job):
    """Scores of all sequences by networks that did not see their group."""
    vary = augment.of(data)
    fold_of = training.deal(data, args.folds, args.seed)
    fold = np.array([fold_of[int(g)] for g in data.group])
    score = np.zeros(len(data.label), np.float32)
    epochs, curves = [], []
    for held in range(fold.max() + 1):
        others = fold != held
        places, weights = training.rows(data, others, is_job)
        stop = training.stopping(data, np.unique(data.group[places]), args.seed + held)
        model, n, curve = training.train(
            data, places, weights, stop, args.network, vary, args.seed + held, args.epochs, width=args.width
        )
        score[~others] = training.scores(model, data.values[~others])
        epochs.append(n)
        curves.append(curve)
        print(f"fold {held + 1} of {fold.max() + 1}: {n} epochs", file=sys.stderr, flush=True)
    n_epochs = int(np.median(epochs))
    places, weights = training.rows(data, np.ones(len(fold), bool), is_job)
    none = np.zeros(0, int)
    model, _, _ = training.train(
        data, places, weights, none, args.network, vary, args.seed, n_epochs, width=args.width
    )
    return model, score, fold, n_epochs, curves


def limits(data, score, fold, per_day):
    """The threshold of each fold, by the scores of the others."""
    found = []
    for held in range(fold.max() + 1):
        others = fold != held
        captures = np.unique(data.capture[others])
        found.append(figures.threshold(data, score, others, captures, per_day))
    return np.array(found)


def table(data, score, fold, is_job, per_day, families):
    """Recall and false incidents at thresholds of the other folds, by family and group."""
    limit = limits(data, score, fold, per_day)[fold]
    known = figures.events(data, is_job)
    by_family, by_group = {}, {}
    for capture, event, about in figures.all_events(data, is_job):
        places = known.get((capture, event), [])
        is_found = bool(len(places)) and bool((score[places] >= limit[places]).any())
        group = data.captures[capture]["source"]
        for name, where in ((about["attack"], by_family), (group, by_group)):
            row = where.setdefault(
                name, {"events": 0, "with_sequences": 0, "network": 0, "detectors": 0, "own": 0, "beyond": 0}
            )
            row["events"] += 1
            row["with_sequences"] += bool(len(places))
            row["network"] += is_found
            row["detectors"] += about["found_as"] is not None
            row["own"] += about["found_as"] in families
            row["beyond"] += is_found and about["found_as"] is None
    hit = score >= limit
    wrong = {}
    for i in np.flatnonzero(hit & (data.label == BENIGN)):
        capture = data.captures[data.capture[i]]
        wrong.setdefault(capture["id"], set()).add((data.source[i], data.at_ns[i] // figures.HOUR_NS))
    wrong = {name: len(keys) for name, keys in sorted(wrong.items())}
    whole = figures.hours(data, range(len(data.captures)))
    n_false = sum(wrong.values())
    n_true = sum(row["network"] for row in by_family.values())
    n = sum(row["events"] for row in by_family.values())
    precision = n_true / max(1, n_true + n_false)
    recall = n_true / max(1, n)
    return {
        "false_per_day_allowed": per_day,
        "false": n_false,
        "false_per_day": n_false / whole * 24.0,
        "benign_hours": whole,
        "events": n,
        "found": n_true,
        "by_detectors": sum(row["detectors"] for row in by_family.values()),
        "by_own_detectors": sum(row["own"] for row in by_family.values()),
        "beyond": sum(row["beyond"] for row in by_family.values()),
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / max(1e-9, precision + recall),
        "by_family": by_family,
        "by_group": by_group,
        "wrong": wrong,
    }


def own_alarms(data, families):
    """False incidents of the detectors of the job."""
    return sum(family in families for c in data.captures for family in c["false_incidents"])


def main(argv=None):
    args = arguments(argv)
    torch.set_num_threads(args.threads)
    torch.use_deterministic_algorithms(True)
    data = read(args.file, args.kind)
    words = tuple(args.words.split(",")) if args.words else JOBS[args.kind]
    is_job = job(words)
    families = FAMILIES[args.kind]
    judged = usual.judge if args.network == "autoencoder" else judge
    model, score, fold, n_epochs, curves = judged(data, args, is_job)
    if args.usual:
        score = usual.of_own_past(data, score)
    if args.run > 1:
        score = figures.in_a_row(data, score, args.run)
    is_its = np.zeros(len(data.label), bool)
    for places in figures.events(data, is_job).values():
        is_its[places] = True
    wanted = (data.label == BENIGN) | is_its
    _, _, area = figures.curve(score[wanted], data.label[wanted])
    whole = figures.hours(data, range(len(data.captures)))
    equal = own_alarms(data, families) / whole * 24.0
    result = {
        "network": args.network,
        "seed": args.seed,
        "epochs": n_epochs,
        "sequences": {"benign": int((data.label == BENIGN).sum()), "attack": int(is_its.sum())},
        "groups": int(len(np.unique(data.group))),
        "captures": len(data.captures),
        "folds": int(fold.max() + 1),
        "average_precision": area,
        "roc_area": figures.roc_area(score[wanted], data.label[wanted]),
        "own_detectors_false_per_day": equal,
        "at_equal_alarms": table(data, score, fold, is_job, equal, families),
        "at_one_a_day": table(data, score, fold, is_job, 1.0, families),
        "at_threshold": table(data, score, fold, is_job, args.false_per_day, families),
        "curves": curves,
    }
    everything = np.ones(len(score), bool)
    captures = np.unique(data.capture)
    limit = figures.threshold(data, score, everything, captures, args.false_per_day)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    export.write(
        model,
        data,
        args.output,
        {
            "network": args.network,
            "framework": f"torch {torch.__version__}",
            "seed": args.seed,
            "threshold": limit,
            "false_share": float((score[data.label == BENIGN] >= limit).mean()),
            "card": {key: value for key, value in result.items() if key != "curves"},
        },
    )
    with open(f"{args.output}.figures.json", "w", encoding="utf-8") as out:
        json.dump(result, out, indent=1)
    short = {k: v for k, v in result["at_threshold"].items() if not isinstance(v, dict)}
    print(json.dumps(short, indent=1))


if __name__ == "__main__":
    main()
