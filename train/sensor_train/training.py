"""Training by folds of whole groups."""

import numpy as np
import torch

from .networks import NETWORKS, PRESENCE, Scaled
from .sequences import ATTACK, BENIGN

# Rows of one capture and content; of more, every nth.
MAX_ROWS = 120


def rows(data, wanted, is_job):
    """Places of rows to learn from, with weights: captures of one content weigh alike up to a limit, and attacks
    as much as ordinary traffic."""
    places, weights = [], []
    for label in (BENIGN, ATTACK):
        part_places, part_weights = [], []
        for capture in np.unique(data.capture[wanted]):
            own = np.flatnonzero(wanted & (data.capture == capture) & (data.label == label))
            if label == ATTACK:
                attacks = data.captures[capture]["events"]
                own = np.array([i for i in own if is_job(attacks[data.event[i]]["attack"])], int)
            if not len(own):
                continue
            kept = own[np.linspace(0, len(own) - 1, min(len(own), MAX_ROWS)).astype(int)]
            part_places.append(kept)
            part_weights.append(np.full(len(kept), min(len(own), 60) / len(kept)))
        if part_places:
            part_places, part_weights = np.concatenate(part_places), np.concatenate(part_weights)
            places.append(part_places)
            weights.append(part_weights / part_weights.sum())
    if len(places) < 2:
        raise ValueError("captures of attacks and of ordinary traffic are needed")
    places, weights = np.concatenate(places), np.concatenate(weights)
    return places, (weights * len(weights) / weights.sum()).astype(np.float32)


def scaling(values):
    """Mean and deviation of each column over the steps that are there."""
    steps = values.reshape(-1, values.shape[-1])
    there = steps[np.abs(steps).sum(1) > 0]
    return there.mean(0), np.maximum(there.std(0), 0.1)


def train(data, places, weights, stop, network, augment, seed, epochs, patience=6, log=None, width=16):
    """Trains on rows, stops where the loss of the groups in `stop` grows. Returns the network and its epochs."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    mean, deviation = scaling(data.values[places])
    model = Scaled(NETWORKS[network](2 * data.values.shape[-1], width), mean, deviation, PRESENCE[data.kind])
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-2)
    loss_of = torch.nn.BCEWithLogitsLoss(reduction="none")
    label = lambda at: torch.from_numpy((data.label[at] == ATTACK).astype(np.float32))
    group = data.group[places]
    is_stop = np.isin(group, stop)
    own = places[~is_stop], torch.from_numpy(weights[~is_stop])
    kept = places[is_stop], torch.from_numpy(weights[is_stop])
    best, best_state, best_epoch, curve = np.inf, None, epochs, []
    for epoch in range(1, epochs + 1):
        model.train()
        order = torch.randperm(len(own[0]), generator=generator)
        whole = 0.0
        for batch in order.split(128):
            at = own[0][batch.numpy()]
            x = augment(torch.from_numpy(data.values[at]), generator)
            loss = (loss_of(model.logit(x), label(at)) * own[1][batch]).mean()
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            whole += loss.item() * len(batch)
        told = {"epoch": epoch, "train": whole / max(1, len(order))}
        if len(kept[0]):
            model.eval()
            with torch.no_grad():
                logits = model.logit(torch.from_numpy(data.values[kept[0]]))
                told["kept_out"] = float((loss_of(logits, label(kept[0])) * kept[1]).mean())
            if told["kept_out"] < best:
                best, best_epoch = told["kept_out"], epoch
                best_state = {k: v.clone() for k, v in model.state_dict().items()}
        curve.append(told)
        if log:
            log(told)
        if best_state is not None and epoch - best_epoch >= patience:
            break
    if best_state is not None:
        model.load_state_dict(best_state)
    model.eval()
    return model, best_epoch, curve


def scores(model, values):
    """Answers for rows, in parts."""
    with torch.no_grad():
        parts = [model(torch.from_numpy(values[i : i + 1024])) for i in range(0, len(values), 1024)]
    return torch.cat(parts).numpy() if parts else np.zeros(0, np.float32)


def deal(data, n_folds, seed):
    """The fold of each group: the largest first to where least is; 0 folds: each group is one."""
    groups, sizes = np.unique(data.group, return_counts=True)
    if n_folds == 0 or n_folds >= len(groups):
        return {int(g): i for i, g in enumerate(groups)}
    order = np.random.default_rng(seed).permutation(len(groups))
    order = sorted(order, key=lambda i: -min(int(sizes[i]), 600))
    held, fold = np.zeros(n_folds), {}
    for i in order:
        place = int(held.argmin())
        held[place] += min(int(sizes[i]), 600) + 20
        fold[int(groups[i])] = place
    return fold


def stopping(data, groups, seed):
    """A seventh of the groups of each content, to stop by."""
    has_attack = {g: bool((data.label[data.group == g] == ATTACK).any()) for g in groups}
    random, chosen = np.random.default_rng(seed), []
    for wanted in (False, True):
        some = [g for g in groups if has_attack[g] == wanted]
        chosen += list(random.permutation(some)[: max(1, len(some) // 7)])
    return np.array(chosen)
