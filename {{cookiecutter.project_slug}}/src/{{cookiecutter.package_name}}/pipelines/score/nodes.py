"""Score readings piece by piece, as an endpoint would score them with all their history."""

from collections.abc import Iterable, Iterator

import pandas as pd
from kedro_azure_mlops.models import Champion, choose_model
from kedro_azure_mlops.serve.batches import score_pieces

from ...parameters import ScoreParameters


def model_to_score_with(
    champion: Champion, trained: Champion, parameters: ScoreParameters
) -> Champion:
    """Take the model in service, or the one of the last run if that is asked for."""
    return choose_model(champion, trained, parameters.model)


def score_new_readings(
    pieces: Iterable[pd.DataFrame], champion: Champion, parameters: ScoreParameters
) -> Iterator[pd.DataFrame]:
    """Score readings by a model that is not refitted, each by what its sensor did before it.

    Returns
    -------
    For each piece ``timestamp, sensor_id, temperature, score, is_anomaly, model_version`` of its
    readings in their order, see ``score_pieces``; score and flag of a sensor that the model does
    not know are missing. With ``explain``, ``explanation`` says in words why one was flagged.
    """
    return score_pieces(
        pieces,
        champion.model,
        champion.version,
        digest=champion.digest,
        explain=parameters.explain,
    )
