"""The case of the month in small: half a month, four clients. Run: python tests/month.py ../target/debug/sensor"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from sensor_train.month import run  # noqa: E402


def check(sensor):
    told = run(sensor, n_days=14, n_clients=4)
    # The burst is no more than what the days of the month had, so that no threshold on its height finds it.
    assert not told["burst_above_month"], told
    assert told["burst_hour_found"] is not None and told["burst_hour_found"] <= 2, told
    assert told["false_alarms"] <= told["false_of_minutes"] // 50, told
    # What a person calls ordinary is learned: later nights alarm less than the first two.
    nights = told["new_habit_by_night"]
    assert nights[0] > 0 and sum(nights[-2:]) < sum(nights[:2]), told


if __name__ == "__main__":
    check(sys.argv[1])
