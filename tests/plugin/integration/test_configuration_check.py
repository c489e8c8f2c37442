"""A project's tests can check that everything its configuration names exists."""

import pytest
import yaml

from kedro_azure_mlops.errors import OperationError
from kedro_azure_mlops.testing.configuration import find_unknown_entries
from tests.plugin.helpers import Project


def test_a_valid_configuration_has_no_unknown_entries(project: Project) -> None:
    for env in ("dev", "stage", "prod"):
        assert find_unknown_entries(project.path, env) == []


def test_each_key_that_names_a_missing_entry_is_reported(project: Project) -> None:
    wrong = {"tracking": {"model": "modle", "artifacts": ["gate", "plot"]}, "champion": "chmp"}
    project.configure("dev", "mlops.yml", yaml.safe_dump(wrong))
    assert find_unknown_entries(project.path, "dev") == [
        "tracking.model in mlops.yml names modle, which is not an entry of the catalog of dev",
        "tracking.artifacts in mlops.yml names plot, which is not an entry of the catalog of dev",
        "champion in mlops.yml names chmp, which is not an entry of the catalog of dev",
    ]
    assert find_unknown_entries(project.path, "stage") == []


def test_inputs_of_pipelines_must_be_in_the_catalog(project: Project) -> None:
    file = project.path / "conf/base/catalog.yml"
    catalog = yaml.safe_load(file.read_text(encoding="utf-8"))
    entry = catalog.pop("new_hours")
    file.write_text(yaml.safe_dump(catalog), encoding="utf-8")
    unknown = find_unknown_entries(project.path, "dev")
    assert [text for text in unknown if "reads new_hours, which is not an entry" in text]
    file.write_text(yaml.safe_dump(catalog | {"new_{what}": entry}), encoding="utf-8")
    assert find_unknown_entries(project.path, "dev") == []


def test_an_unknown_key_is_refused(project: Project) -> None:
    project.configure("dev", "mlops.yml", "tracking: {modle: model}\n")
    with pytest.raises(OperationError, match="unknown key 'modle'"):
        find_unknown_entries(project.path, "dev")
