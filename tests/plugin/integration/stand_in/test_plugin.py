"""The pytest plugin as another project's tests use it."""

import subprocess
import sys
from pathlib import Path

from tests.plugin.helpers import new_shell

TESTS = """
import sys


def test_without_the_fixture_nothing_is_imported():
    assert not {"azure", "mlflow", "kedro", "cryptography"} & set(sys.modules)


def test_the_client_talks_to_the_stand_in(azure_stand_in):
    azure_stand_in.add_workspace("rg-other", "mlw-other")
    from azure.ai.ml import MLClient
    from azure.identity import EnvironmentCredential

    with EnvironmentCredential() as credential:
        client = MLClient(credential, azure_stand_in.subscription, "rg-other", "mlw-other")
        assert client.workspaces.get("mlw-other").location == "westeurope"
    assert azure_stand_in.requests


def test_an_unknown_request_fails_the_test(azure_stand_in):
    import requests

    try:
        requests.get("https://example.org/", timeout=10)
    except requests.exceptions.ProxyError:
        pass
"""


def test_a_project_uses_the_fixture_and_other_tests_import_nothing(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(TESTS, encoding="utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n", encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env=new_shell(),
        capture_output=True,
        text=True,
    )
    assert "3 passed, 1 error" in ran.stdout, ran.stdout
    assert "the stand-in for Azure does not support this" in ran.stdout
    assert "the host example.org" in ran.stdout
