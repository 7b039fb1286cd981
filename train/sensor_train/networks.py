"""The networks: small enough for 50,000 sequences a second on one core."""

import torch
from torch import nn


class Scaled(nn.Module):
    """A network with the scaling of its input inside, so that whoever runs it feeds what was recorded: each column
    scaled, and beside it its difference to the mean of the sequence, which shows sameness whatever the size."""

    def __init__(self, body, mean, deviation, presence=(4, 5)):
        super().__init__()
        self.body = body
        self.presence = presence
        self.register_buffer("shift", -torch.as_tensor(mean) / torch.as_tensor(deviation))
        self.register_buffer("scale", 1.0 / torch.as_tensor(deviation))

    def logit(self, x):
        # Each step that is there has a packet: ln 2 at least, and a length that may be negative. Padding has none.
        there = sum(x[:, :, i : i + 1].abs() for i in self.presence)
        there = (there * 2.0).clamp(max=1.0)
        n = there.sum(1, keepdim=True).clamp(min=1.0)
        mean = (x * there).sum(1, keepdim=True) / n
        own = (x * self.scale + self.shift) * there
        return self.body(torch.cat([own, (x - mean) * self.scale * there], 2))

    def forward(self, x):
        return torch.sigmoid(self.logit(x))


class Gru(nn.Module):
    """Over the latest 32 steps: the state after the last tells."""

    STEPS = 32

    def __init__(self, n_columns, width=16, dropout=0.3):
        super().__init__()
        self.gru = nn.GRU(n_columns, width, batch_first=True)
        self.drop = nn.Dropout(dropout)
        self.out = nn.Linear(width, 1)

    def forward(self, x):
        states, _ = self.gru(x[:, -self.STEPS :])
        return self.out(self.drop(states[:, -1]))[:, 0]


class Cnn(nn.Module):
    """Three convolutions, each of half the length of the one before; the greatest of each channel tells."""

    def __init__(self, n_columns, width=16, dropout=0.3):
        super().__init__()
        last = width * 3 // 2
        self.body = nn.Sequential(
            nn.Conv1d(n_columns, width, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv1d(width, width, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv1d(width, last, 3, stride=2, padding=1),
            nn.ReLU(),
        )
        self.drop = nn.Dropout(dropout)
        self.out = nn.Linear(last, 1)

    def forward(self, x):
        return self.out(self.drop(self.body(x.transpose(1, 2)).amax(2)))[:, 0]


class Autoencoder(nn.Module):
    """A host's minute through a narrow place and back, in steps of half a second: how ill it comes back tells how
    odd it is. Columns are scaled outside; the answer grows with the mean squared error."""

    STEPS = 120

    def __init__(self, n_columns, width=16, dropout=0.1):
        super().__init__()
        self.n_columns = n_columns
        self.body = nn.Sequential(
            nn.Conv1d(n_columns, width, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv1d(width, width, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv1d(width, width, 5, stride=3, padding=2),
            nn.ReLU(),
        )
        self.narrow = nn.Linear(width * 10, width)
        self.drop = nn.Dropout(dropout)
        self.wide = nn.Linear(width, self.STEPS * n_columns)

    def error(self, x):
        half = x.reshape(len(x), self.STEPS, -1, self.n_columns).mean(2)
        code = self.narrow(self.body(half.transpose(1, 2)).flatten(1))
        back = self.wide(self.drop(torch.tanh(code)))
        return ((back - half.flatten(1)) ** 2).mean(1)


NETWORKS = {"gru": Gru, "cnn": Cnn, "autoencoder": Autoencoder}
# Columns that are not 0 where there is a step.
PRESENCE = {"contacts": (4, 5), "packets": (0,), "minute": (0, 1)}
