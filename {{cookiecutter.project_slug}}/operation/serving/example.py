"""A request that any model can score: a day of usual readings, and one that is not."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from {{ cookiecutter.package_name }}.scoring.scorer import read_description

_START = datetime(2024, 1, 1, tzinfo=UTC)
_ROWS = 49
_FAR_OFF = 10  # of the usual spreads


def example_request(folder: Path) -> str:
    """Write half-hourly readings of the first sensor that a model knows, as the body of a request.

    All are usual but the last one, which is as far off as the sensor can measure.
    """
    description = read_description(folder)
    sensor, profile = next(iter(description["profiles"].items()))
    usual, spread = profile["centre"][0], profile["scale"][0]
    values = [usual] * (_ROWS - 1) + [min(usual + _FAR_OFF * spread, description["limits"][1])]
    rows = [
        {
            "timestamp": (_START + number * timedelta(minutes=30)).strftime("%Y-%m-%dT%H:%M:%S"),
            "sensor_id": sensor,
            "temperature": round(value, 2),
        }
        for number, value in enumerate(values)
    ]
    return json.dumps({"data": rows})
