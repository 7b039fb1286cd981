"""Variation of sequences of contacts: what another plan, network or moment would have made of the same."""

import torch


def contacts(x, gap, duration, generator):
    """Scales the gaps, loses contacts, begins later. `gap`, `duration`: places of the columns, both ln(1 + ms)."""
    x = x.clone()
    n, steps, _ = x.shape
    is_there = x[:, :, 4] > 0
    # Another interval: a factor of a quarter to four.
    factor = torch.empty(n, 1).uniform_(-1.386, 1.386, generator=generator)
    has_gap = (x[:, :, gap] > 0) & is_there
    x[:, :, gap] = torch.where(has_gap, (x[:, :, gap] + factor).clamp(min=0.0), x[:, :, gap])
    # Other sizes: up to 30 % more or less, all alike.
    size = torch.empty(n, 1, 2).uniform_(-0.26, 0.26, generator=generator)
    sizes = x[:, :, 2:4]
    x[:, :, 2:4] = torch.where(sizes > 0, (sizes + size).clamp(min=0.0), sizes)
    # Seen from later on: the first are not known.
    n_lost = torch.randint(0, steps // 2, (n, 1), generator=generator)
    n_there = is_there.sum(1, keepdim=True)
    n_lost = torch.minimum(n_lost, (n_there - 6).clamp(min=0))
    first = steps - n_there + n_lost
    keep = torch.arange(steps)[None, :] >= first
    x = x * keep[:, :, None]
    # Lost contacts: the gap of the next spans them.
    lost = (torch.rand(n, steps, generator=generator) < 0.03) & keep
    wide = torch.roll(lost, 1, dims=1)
    x[:, :, gap] = torch.where(wide & (x[:, :, gap] > 0), x[:, :, gap] + 0.693, x[:, :, gap])
    _ = duration
    return x


def packets(x, gap, generator):
    """Scales the gaps, loses packets, ends earlier. Sequences lie at the end of their row."""
    x = x.clone()
    n, steps, _ = x.shape
    is_there = x[:, :, 0] != 0
    factor = torch.empty(n, 1).uniform_(-1.386, 1.386, generator=generator)
    has_gap = (x[:, :, gap] > 0) & is_there
    x[:, :, gap] = torch.where(has_gap, (x[:, :, gap] + factor).clamp(min=0.0), x[:, :, gap])
    lost = (torch.rand(n, steps, generator=generator) < 0.05) & is_there
    return x * (~lost)[:, :, None]


def of(data):
    """The variation of a kind of sequences."""
    place = data.columns.index
    if data.kind == "contacts":
        return lambda x, generator: contacts(x, place("gap"), place("duration"), generator)
    if data.kind == "packets":
        return lambda x, generator: packets(x, place("gap"), generator)
    return plain


def plain(x, _generator):
    """No variation."""
    return x
