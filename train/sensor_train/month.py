"""A month of one site's ordinary traffic, a recurrent network that learns it, and a burst of transactions at night.

Clients of a site buy from one server: many transactions by day, few by night, each client with hours and a pace of its
own, and less at weekends. A day passes in 24 minutes, an hour in one: the sensor reads the packets' time. It makes minutes
of each client out of the capture (`sensor replay --sequences`), and a GRU that runs through them learns to say what the next
minute holds. After the month one client makes as many transactions at night as at noon, for six hours. Nothing about that
number is odd but its time. Then the network goes on learning, day by day, from all that it does not find odd, and
is told another change that a person calls ordinary: a client that works at night from now on.

Run: python -m sensor_train.month --sensor ../target/debug/sensor"""

import argparse
import json
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from .sequences import read

MINUTE_NS = 60_000_000_000
HOURS = 24
# A Monday at midnight, by the clock of the capture.
START_NS = 1_700_006_400_000_000_000
SERVER = bytes([198, 51, 100, 20])
FIN, SYN, PUSH, ACK = 1, 2, 8, 16


def client(n):
    return bytes([192, 0, 2, 10 + n])


def frame(source, destination, ports, flags, n_payload, sequence):
    """An Ethernet frame of TCP in IPv4."""
    head = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 40 + n_payload, 0, 0x4000, 64, 6, 0, source, destination)
    words = sum(struct.unpack(">10H", head))
    words = (words & 0xFFFF) + (words >> 16)
    words = (words & 0xFFFF) + (words >> 16)
    head = head[:10] + struct.pack(">H", ~words & 0xFFFF) + head[12:]
    tcp = struct.pack(">HHIIBBHHH", *ports, sequence, 1, 0x50, flags, 64_000, 0, 0)
    return bytes([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]) + head + tcp + bytes(n_payload)


def transaction(random, at_ns, who, port):
    """A connection with a question and an answer."""
    asked, told = int(random.integers(150, 700)), int(random.integers(300, 1_400))
    there = lambda flags, n, seq: frame(who, SERVER, (port, 443), flags, n, seq)
    back = lambda flags, n, seq: frame(SERVER, who, (443, port), flags, n, seq)
    parts = [
        there(SYN, 0, 0), back(SYN | ACK, 0, 0), there(ACK, 0, 1), there(PUSH | ACK, asked, 1),
        back(PUSH | ACK, told, 1), there(FIN | ACK, 0, 1 + asked), back(FIN | ACK, 0, 1 + told), there(ACK, 0, 2 + asked),
    ]  # fmt: skip
    return [(at_ns + i * 9_000_000, part) for i, part in enumerate(parts)]


def pace(n, day, hour):
    """Transactions in an hour of the day of a client."""
    begin, end = 7 + n % 3, 16 + n % 4
    busy = begin <= hour < end
    weekend = 0.3 if day % 7 >= 5 else 1.0
    return (34 + 4 * (n % 4)) * weekend if busy else 2.5


def month(random, n_days, n_clients, more):
    """Frames in their order; `more` gives the transactions that come on top."""
    for day in range(n_days):
        for hour in range(HOURS):
            at_ns = START_NS + (day * HOURS + hour) * MINUTE_NS
            frames = []
            for n in range(n_clients):
                count = random.poisson(pace(n, day, hour)) + more(n, day, hour)
                for i in range(count):
                    port = 20_000 + int(random.integers(0, 40_000))
                    begin_ns = at_ns + int(random.integers(0, MINUTE_NS - 200_000_000))
                    frames += transaction(random, begin_ns, client(n), port)
            frames.sort(key=lambda one: one[0])
            yield from frames


def sequences(sensor, frames):
    """What the sensor makes of the frames."""
    with tempfile.TemporaryDirectory() as folder:
        capture, file = Path(folder) / "month.pcap", Path(folder) / "month.seq"
        with open(capture, "wb") as out:
            out.write(struct.pack("<IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65_535, 1))
            for at_ns, data in frames:
                out.write(struct.pack("<IIII", at_ns // 10**9, at_ns % 10**9, len(data), len(data)) + data)
        run = [sensor, "replay", "--json", "--sequences", str(file), str(capture)]
        done = subprocess.run(run, check=True, capture_output=True, text=True)
        opened = [json.loads(line) for line in done.stdout.splitlines()]
        opened = [one for one in opened if one.get("incident.state") == "opened"]
        return read(file, "minute"), opened


def series(data, n_days, n_clients):
    """Sums of each client's minutes, in the order of the clock: [clients, minutes, columns]; 0 where it was quiet."""
    found = np.zeros((n_clients, n_days * HOURS, data.values.shape[-1]), np.float32)
    for i in range(len(data.at_ns)):
        source = bytes(data.source[i][-4:])
        minute = int(data.first_ns[i] - START_NS) // MINUTE_NS
        n = source[3] - 10
        if source[:3] == client(0)[:3] and 0 <= n < n_clients and 0 <= minute < found.shape[1]:
            found[n, minute] = np.log1p(np.expm1(data.values[i].astype(np.float64)).sum(0))
    return found


class Forecast(torch.nn.Module):
    """A GRU over the minutes of a client, which knows the hour: it says the next minute and how sure it is."""

    def __init__(self, n_columns, width=24):
        super().__init__()
        self.gru = torch.nn.GRU(n_columns + 4, width, batch_first=True)
        self.out = torch.nn.Linear(width, 2 * n_columns)

    def forward(self, x, clock):
        states, _ = self.gru(torch.cat([x, clock], 2)[:, :-1])
        middle, spread = self.out(states).chunk(2, 2)
        return middle, spread.clamp(-1.0, 2.0)


def clock(n_clients, first, n):
    """Hour and day of the week of the minute that is to be told, as angles."""
    minutes = np.arange(first, first + n)
    day, week = minutes % HOURS / HOURS, minutes // HOURS % 7 / 7
    angles = [f(2 * np.pi * part) for part in (day, week) for f in (np.sin, np.cos)]
    return torch.tensor(np.stack(angles, 1), dtype=torch.float32).repeat(n_clients, 1, 1)


def surprise(model, x, first):
    """Negative log-likelihood of each minute but the first, mean of the columns: [clients, minutes - 1]."""
    at = clock(len(x), first + 1, x.shape[1])
    middle, spread = model(x, at)
    nll = 0.5 * ((x[:, 1:] - middle) * torch.exp(-spread)) ** 2 + spread
    return nll.mean(2)


def learn(model, optimiser, x, first, epochs, left_out=None):
    """Passes over the minutes; those in `left_out` teach nothing."""
    loss = torch.tensor(0.0)
    for _ in range(epochs):
        nll = surprise(model, x, first)
        keep = torch.ones_like(nll) if left_out is None else (~left_out).float()
        loss = (nll * keep).sum() / keep.sum().clamp(min=1.0)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
    return float(loss.detach())


def run(sensor, n_days=30, n_clients=6, seed=1, epochs=250):
    """The case: figures by name."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    random = np.random.default_rng(seed)
    burst_day, new_day, last_day = n_days, n_days + 2, n_days + 9
    night = range(1, 7)

    def more(n, day, hour):
        if n == 2 and day == burst_day and hour in night:
            return int(random.poisson(38))
        if n == 3 and day >= new_day and hour in night:
            return int(random.poisson(30))
        return 0

    data, opened = sequences(sensor, month(random, last_day, n_clients, more))
    x = torch.from_numpy(series(data, last_day, n_clients))
    mean, deviation = x[:, : n_days * HOURS].mean((0, 1)), x[:, : n_days * HOURS].std((0, 1)).clamp(min=0.1)
    x = (x - mean) / deviation
    model = Forecast(x.shape[-1])
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=1e-2)
    # The last fifth of the month is kept out: the threshold is the greatest surprise there, and a margin.
    n_learned = n_days * 4 // 5 * HOURS
    loss = learn(model, optimiser, x[:, :n_learned], 0, epochs)
    with torch.no_grad():
        known = surprise(model, x[:, : n_days * HOURS], 0)
    kept_out = known[:, n_learned - 1 :]
    limit = float(kept_out.max()) + 2.0 * float(kept_out.std())
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-2)
    alarms, burst_at = {}, None
    past = torch.zeros(n_clients, last_day * HOURS, dtype=torch.bool)
    for day in range(n_days, last_day):
        begin, end = day * HOURS, (day + 1) * HOURS
        # The week before goes with it, for the state, and that nothing is forgotten.
        first = max(0, begin - 7 * HOURS)
        with torch.no_grad():
            own = surprise(model, x[:, first:end], first)[:, -HOURS:]
        odd = own > limit
        for n, hour in torch.nonzero(odd).tolist():
            alarms.setdefault(day, []).append((n, hour))
            if n == 2 and day == burst_day and hour in night and burst_at is None:
                burst_at = hour
        # It learns the day, but for what it found odd; a person called the new habit ordinary from its second night on.
        left_out = torch.zeros(n_clients, end - first - 1, dtype=torch.bool)
        left_out[:, -HOURS:] = odd
        left_out[:, :-HOURS] = past[:, first : begin - 1]
        past[:, begin - 1 : end - 1] = odd
        if day > new_day:
            left_out[3] = False
        learn(model, optimiser, x[:, first:end], first, 40, left_out)
    quiet = [(n, hour) for day, found in alarms.items() for n, hour in found
             if not (n == 2 and day == burst_day and hour in night) and not (n == 3 and day >= new_day)]  # fmt: skip
    night_of = lambda day: sum(n == 3 and hour in night for n, hour in alarms.get(day, []))
    highest = float(x[2, : n_days * HOURS, 1].max())
    burst = x[2, burst_day * HOURS + 1 : burst_day * HOURS + 7, 1]
    return {
        "minutes": int(x.shape[0] * x.shape[1]),
        "loss": loss,
        "limit": limit,
        "burst_hour_found": None if burst_at is None else burst_at - night[0] + 1,
        "burst_hours": len(night),
        "burst_above_month": bool((burst > highest).any()),
        "false_alarms": len(quiet),
        "false_of_minutes": int(n_clients * (last_day - n_days) * HOURS),
        "new_habit_by_night": [night_of(day) for day in range(new_day, last_day)],
        "incidents_of_detectors": len(opened),
    }


def main(argv=None):
    parser = argparse.ArgumentParser(prog="python -m sensor_train.month", description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--sensor", required=True, help="the sensor's program")
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args(argv)
    json.dump(run(args.sensor, args.days, args.clients, args.seed), sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
