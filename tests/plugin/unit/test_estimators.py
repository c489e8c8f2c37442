import numpy as np
import pytest

from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.estimators import fit, new_estimator, refuse_unusable

RIDGE = "sklearn.linear_model.Ridge"


class Unsaveable:
    """Fits and scores, and is a type that is not listed as trusted."""

    def fit(self, rows: np.ndarray) -> "Unsaveable":
        self.rows_ = rows
        return self

    def score_samples(self, rows: np.ndarray) -> np.ndarray:
        return rows[:, 0]


class Failing(Unsaveable):
    def fit(self, rows: np.ndarray) -> "Failing":
        raise RuntimeError("not today")


OURS = f"{Unsaveable.__module__}.Unsaveable"


def test_the_seed_goes_to_an_estimator_that_takes_one() -> None:
    assert new_estimator(RIDGE, {"alpha": 2.0}, seed=3).get_params()["random_state"] == 3
    assert new_estimator(RIDGE, {"random_state": 1}, seed=3).random_state == 1
    assert new_estimator("sklearn.neighbors.KernelDensity", {}, seed=3).bandwidth == 1.0


def test_null_removes_an_argument_of_another_estimator_and_no_other() -> None:
    svm = "sklearn.svm.OneClassSVM"
    assert new_estimator(svm, {"novelty": None, "nu": 0.2}).nu == 0.2
    with pytest.raises(ValueError, match=r"novelty=True; .*NAME=null removes"):
        new_estimator(svm, {"novelty": True})
    assert new_estimator(RIDGE, {"random_state": None}, seed=3).random_state is None


def test_what_fits_scores_and_is_stored_safely_is_accepted() -> None:
    refuse_unusable("sklearn.svm.OneClassSVM", {}, ["score_samples"], columns=3)
    refuse_unusable(OURS, {}, ["predict", "score_samples"], columns=3, trusted=[OURS])


@pytest.mark.parametrize(
    ("name", "arguments", "why"),
    [
        ("no.such.Thing", {}, "cannot be imported"),
        ("Thing", {}, "cannot be imported"),
        ("sklearn.svm.Thing", {}, "cannot be imported"),
        ("collections.Counter", {}, r"has no fit\(\)"),
        (RIDGE, {}, "has no score_samples or decision_function"),
        ("sklearn.neighbors.LocalOutlierFactor", {}, "novelty.*arguments.NAME=VALUE sets one"),
        (RIDGE, {"trees": 5}, "cannot be created: .*'trees'"),
        ("sklearn.svm.OneClassSVM", {"nu": 7}, "cannot be fitted: .*'nu'"),
        (f"{Failing.__module__}.Failing", {}, "cannot be fitted: not today"),
        (OURS, {}, "cannot be stored safely: .*not trusted"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(name: str, arguments: dict, why: str) -> None:
    with pytest.raises(ValueError, match=why) as refusal:
        refuse_unusable(name, arguments, ["score_samples", "decision_function"], columns=3)
    assert name in str(refusal.value)


def test_what_cannot_be_fitted_on_the_data_names_its_parameter() -> None:
    rows = np.zeros((3, 2))
    message = r"^model\.estimator=X cannot be fitted on 3 rows: .*nu"
    with pytest.raises(OperationError, match=message):
        fit(new_estimator("sklearn.svm.OneClassSVM", {"nu": 7}), rows, "model.estimator=X")
    assert fit(Unsaveable(), rows, "model.estimator=X").rows_ is rows
