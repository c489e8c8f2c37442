"""The names of recorded parameters, which job inputs write with __ instead of a dot."""

import pytest

from kedro_azure_mlops.reproduce.recorded import _job_parameters, _runtime_parameters


@pytest.mark.parametrize("name", ["learning__rate", "learning.rate", "rate"])
def test_a_parameter_of_a_job_keeps_its_name(name: str) -> None:
    inputs = {name.replace(".", "__"): "0.2"}
    assert _job_parameters({"params": f"{name}=0.1"}, inputs) == {name: "0.2"}


@pytest.mark.parametrize("name", ["learning__rate", "learning.rate", "rate"])
def test_a_parameter_that_a_step_used_keeps_its_name(name: str) -> None:
    """A job on this machine records the names of its inputs, its steps those of parameters."""
    job = {"params": f"{name.replace('.', '__')}=0.1,model__alpha=7"}
    steps = [{"kedro.params": f"{name}=0.2"}, {}]
    assert _runtime_parameters(job, steps) == {name: "0.2", "model.alpha": "7"}
