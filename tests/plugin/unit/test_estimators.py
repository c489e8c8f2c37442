import numpy as np
import pytest

from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.estimators import fit, new_estimator, refuse_unusable

RIDGE = "sklearn.linear_model.Ridge"


class Unsaveable:
    """An estimator that fits and scores, but whose type is not trusted."""

    def fit(self, rows: np.ndarray) -> "Unsaveable":
        self.rows_ = rows
        return self

    def score_samples(self, rows: np.ndarray) -> np.ndarray:
        return rows[:, 0]


class Failing(Unsaveable):
    def fit(self, rows: np.ndarray) -> "Failing":
        raise RuntimeError("not today")


UNSAVEABLE = f"{Unsaveable.__module__}.Unsaveable"


def test_the_seed_is_passed_to_an_estimator_that_accepts_one() -> None:
    assert new_estimator(RIDGE, {"alpha": 2.0}, seed=3).get_params()["random_state"] == 3
    assert new_estimator(RIDGE, {"random_state": 1}, seed=3).random_state == 1
    assert new_estimator("sklearn.neighbors.KernelDensity", {}, seed=3).bandwidth == 1.0


def test_null_removes_an_argument_that_the_estimator_lacks() -> None:
    svm = "sklearn.svm.OneClassSVM"
    assert new_estimator(svm, {"novelty": None, "nu": 0.2}).nu == 0.2
    with pytest.raises(ValueError, match=r"novelty=True; .*NAME=null removes"):
        new_estimator(svm, {"novelty": True})
    assert new_estimator(RIDGE, {"random_state": None}, seed=3).random_state is None


def test_usable_estimators_are_accepted() -> None:
    refuse_unusable("sklearn.svm.OneClassSVM", {}, ["score_samples"], columns=3)
    refuse_unusable(UNSAVEABLE, {}, ["predict", "score_samples"], columns=3, trusted=[UNSAVEABLE])


@pytest.mark.parametrize(
    ("name", "arguments", "reason"),
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
        (UNSAVEABLE, {}, "cannot be stored safely: .*not trusted"),
    ],
)
def test_unusable_estimators_are_rejected_by_name(name: str, arguments: dict, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as refusal:
        refuse_unusable(name, arguments, ["score_samples", "decision_function"], columns=3)
    assert name in str(refusal.value)


def test_a_failed_fit_names_the_parameter_of_the_estimator() -> None:
    rows = np.zeros((3, 2))
    message = r"^model\.estimator=X cannot be fitted on 3 rows: .*nu"
    with pytest.raises(OperationError, match=message):
        fit(new_estimator("sklearn.svm.OneClassSVM", {"nu": 7}), rows, "model.estimator=X")
    assert fit(Unsaveable(), rows, "model.estimator=X").rows_ is rows
