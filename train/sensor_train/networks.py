"""The networks: small enough for 50,000 sequences a second on one core."""

import torch
from torch import nn


class Scaled(nn.Module):
    """A network with the scaling of its input inside, so that whoever runs it feeds what was recorded: each column
    scaled, and beside it its difference to the mean of the sequence, which shows sameness whatever the size."""

    def __init__(self, body, mean, deviation):
        super().__init__()
        self.body = body
        self.register_buffer("shift", -torch.as_tensor(mean) / torch.as_tensor(deviation))
        self.register_buffer("scale", 1.0 / torch.as_tensor(deviation))

    def logit(self, x):
        # Each step that is there has a packet: ln 2 at least. Padding has none.
        there = ((x[:, :, 4:5] + x[:, :, 5:6]) * 2.0).clamp(max=1.0)
        n = there.sum(1, keepdim=True).clamp(min=1.0)
        mean = (x * there).sum(1, keepdim=True) / n
        own = (x * self.scale + self.shift) * there
        return self.body(torch.cat([own, (x - mean) * self.scale * there], 2))

    def forward(self, x):
        return torch.sigmoid(self.logit(x))


class Gru(nn.Module):
    """Over the latest 32 steps: the state after the last tells."""

    STEPS = 32

    def __init__(self, n_columns, hidden=16, dropout=0.3):
        super().__init__()
        self.gru = nn.GRU(n_columns, hidden, batch_first=True)
        self.drop = nn.Dropout(dropout)
        self.out = nn.Linear(hidden, 1)

    def forward(self, x):
        states, _ = self.gru(x[:, -self.STEPS :])
        return self.out(self.drop(states[:, -1]))[:, 0]


class Cnn(nn.Module):
    """Three convolutions, each of half the length of the one before; the greatest of each channel tells."""

    def __init__(self, n_columns, dropout=0.3):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv1d(n_columns, 16, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv1d(16, 16, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv1d(16, 24, 3, stride=2, padding=1),
            nn.ReLU(),
        )
        self.drop = nn.Dropout(dropout)
        self.out = nn.Linear(24, 1)

    def forward(self, x):
        return self.out(self.drop(self.body(x.transpose(1, 2)).amax(2)))[:, 0]


NETWORKS = {"gru": Gru, "cnn": Cnn}
