"""One host's minute against what is usual: an autoencoder that saw ordinary traffic alone."""

import sys

import numpy as np
import torch

from . import training
from .networks import NETWORKS
from .sequences import BENIGN

# Minutes of a host before it has a usual of its own.
LEAST_PAST = 5


class Scored(torch.nn.Module):
    """An autoencoder with the scaling of its input inside; its answer is between 0 and 1, and 0.5 where the error is
    that of the ordinary minute in the middle."""

    def __init__(self, body, mean, deviation):
        super().__init__()
        self.body = body
        self.register_buffer("shift", -torch.as_tensor(mean) / torch.as_tensor(deviation))
        self.register_buffer("scale", 1.0 / torch.as_tensor(deviation))
        self.register_buffer("middle", torch.tensor(1.0))

    def error(self, x):
        return self.body.error(x * self.scale + self.shift)

    def forward(self, x):
        error = self.error(x)
        return error / (error + self.middle)


def rows(data, wanted):
    """Places of ordinary rows, of each capture at most so many."""
    found = []
    for capture in np.unique(data.capture[wanted]):
        own = np.flatnonzero(wanted & (data.capture == capture) & (data.label == BENIGN))
        if len(own):
            found.append(own[np.linspace(0, len(own) - 1, min(len(own), training.MAX_ROWS)).astype(int)])
    return np.concatenate(found)


def train(data, places, stop, network, seed, epochs, width, patience=4):
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    values = data.values[places].reshape(-1, data.values.shape[-1])
    mean, deviation = values.mean(0), np.maximum(values.std(0), 0.1)
    model = Scored(NETWORKS[network](data.values.shape[-1], width), mean, deviation)
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-2)
    is_stop = np.isin(data.group[places], stop)
    own, kept = places[~is_stop], places[is_stop]
    best, best_state, best_epoch, curve = np.inf, None, epochs, []
    for epoch in range(1, epochs + 1):
        model.train()
        whole = 0.0
        for batch in torch.randperm(len(own), generator=generator).split(64):
            loss = model.error(torch.from_numpy(data.values[own[batch.numpy()]])).mean()
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            whole += loss.item() * len(batch)
        told = {"epoch": epoch, "train": whole / max(1, len(own))}
        if len(kept):
            told["kept_out"] = float(errors(model, data.values[kept]).mean())
            if told["kept_out"] < best:
                best, best_epoch = told["kept_out"], epoch
                best_state = {k: v.clone() for k, v in model.state_dict().items()}
        curve.append(told)
        if best_state is not None and epoch - best_epoch >= patience:
            break
    if best_state is not None:
        model.load_state_dict(best_state)
    model.eval()
    model.middle.fill_(float(np.median(errors(model, data.values[own]))))
    return model, best_epoch, curve


def errors(model, values):
    model.eval()
    with torch.no_grad():
        parts = [model.error(torch.from_numpy(values[i : i + 256])) for i in range(0, len(values), 256)]
    return torch.cat(parts).numpy()


def judge(data, args, _is_job):
    """Scores of all minutes by autoencoders that did not see their group."""
    fold_of = training.deal(data, args.folds, args.seed)
    fold = np.array([fold_of[int(g)] for g in data.group])
    score = np.zeros(len(data.label), np.float32)
    epochs, curves = [], []
    for held in range(fold.max() + 1):
        others = fold != held
        places = rows(data, others)
        groups = np.unique(data.group[places])
        stop = np.random.default_rng(args.seed + held).permutation(groups)[: max(1, len(groups) // 7)]
        model, n, curve = train(data, places, stop, args.network, args.seed + held, args.epochs, args.width)
        score[~others] = training.scores(model, data.values[~others])
        epochs.append(n)
        curves.append(curve)
        print(f"fold {held + 1} of {fold.max() + 1}: {n} epochs", file=sys.stderr, flush=True)
    n_epochs = int(np.median(epochs))
    everything = rows(data, np.ones(len(fold), bool))
    none = np.zeros(0, int)
    model, _, _ = train(data, everything, none, args.network, args.seed, n_epochs, args.width)
    return model, score, fold, n_epochs, curves


def of_own_past(data, score):
    """How far a minute is from the same host's minutes before: the logit of its score less the median of theirs, put
    back between 0 and 1. A host without a past is judged by all."""
    logit = np.log(np.clip(score, 1e-6, 1 - 1e-6) / np.clip(1 - score, 1e-6, 1))
    found, past = np.zeros(len(score), np.float32), {}
    for i in np.lexsort((data.at_ns, data.capture)):
        own = past.setdefault((data.capture[i], data.source[i]), [])
        middle = float(np.median(own)) if len(own) >= LEAST_PAST else 0.0
        found[i] = 1.0 / (1.0 + np.exp(-(logit[i] - max(0.0, middle))))
        own.append(float(logit[i]))
        del own[:-60]
    return found
