"""An A/B test: two deployments share the traffic, are compared, and one of them gets it all."""

import pandas as pd
import pytest

from kedro_azure_mlops.testing import StandIn
from kedro_azure_mlops.testing.messages import Answer
from tests.plugin.cloud import Result, changes
from tests.plugin.deployed import hours
from tests.plugin.integration.deployment.conftest import ENDPOINT, Site


@pytest.fixture
def two(served: Site) -> Site:
    """Version 1 with all traffic, and version 2 without traffic."""
    assert served.deploy("--no-traffic").status == 0
    served.azure.forget()
    return served


def ab(site: Site, *arguments: str) -> Result:
    return site.call("ab", "--env", "dev", *arguments)


def names(site: Site) -> tuple[str, str]:
    return next(n for n in site.deployments if n[1] == "1"), next(
        n for n in site.deployments if n[1] == "2"
    )


def test_traffic_is_shared_and_the_challenger_wins(two: Site) -> None:
    champion, challenger = names(two)

    assert ab(two, "--share", "20").status == 0
    assert two.traffic == {champion: 80, challenger: 20}
    assert two.tags == {"ab": f"{champion} {challenger}"}

    assert ab(two, "--share", "50").status == 0
    assert two.traffic == {champion: 50, challenger: 50}

    assert ab(two, "--end", "challenger").status == 0
    assert two.traffic == {challenger: 100}
    assert set(two.tags) == {f"keep.{champion}"}


def test_the_champion_may_keep_its_traffic(two: Site) -> None:
    champion, challenger = names(two)
    ab(two, "--share", "20")

    assert ab(two, "--end", "champion").status == 0

    assert two.traffic == {champion: 100}
    assert set(two.tags) == {f"keep.{challenger}"}


@pytest.fixture
def broken(two: Site) -> Site:
    """A test whose challenger was deleted in the portal, which leaves the tag of the test."""
    champion, challenger = names(two)
    assert ab(two, "--share", "20").status == 0
    endpoint = two.body(f"onlineEndpoints/{ENDPOINT}")
    endpoint["properties"]["traffic"] = {champion: 100}
    two.delete(challenger)
    assert set(two.tags) == {"ab"}
    two.azure.forget()
    return two


def test_a_test_with_a_deleted_deployment_can_be_ended(broken: Site) -> None:
    (champion,) = broken.deployments

    refused = ab(broken, "--end", "challenger")
    assert refused.status == 2
    assert (
        f"To give all traffic to {champion}: kedro mlops ab --env dev --end champion" in refused.err
    )
    assert changes(broken.azure) == []

    result = ab(broken, "--end", "champion")

    assert result.status == 0, result.err
    assert "is over (deleted: v2-" in result.out
    assert result.out.rstrip().endswith(f"traffic is {champion} 100 %")
    assert (broken.traffic, broken.tags) == ({champion: 100}, {})


def test_a_test_with_a_deleted_deployment_does_not_stop_a_rollout(broken: Site) -> None:
    (champion,) = broken.deployments
    going_back = broken.deploy("--back")
    assert going_back.status == 1
    assert "keeps no deployment to go back to" in going_back.err

    result = broken.deploy()

    assert result.status == 0, result.err
    assert "is over (deleted: v2-" in result.out
    assert set(broken.tags) == {f"keep.{champion}"}


def test_another_test_can_follow_one_with_a_deleted_deployment(broken: Site) -> None:
    assert "There is only one deployment" in ab(broken, "--share", "20").err
    assert "No A/B test is under way" in ab(broken, "--compare").err
    assert broken.deploy("--no-traffic").status == 0
    champion, challenger = names(broken)

    assert ab(broken, "--share", "30").status == 0

    assert broken.traffic == {champion: 70, challenger: 30}
    assert broken.tags == {"ab": f"{champion} {challenger}"}


def test_the_same_share_is_set_once(two: Site, azure: StandIn) -> None:
    ab(two, "--share", "20")
    azure.forget()

    assert ab(two, "--share", "20").status == 0
    assert changes(azure) == []


def test_both_deployments_are_compared(two: Site) -> None:
    champion, challenger = names(two)
    two.azure.endpoints.spoil = lambda name, answer: (
        Answer(500, {}) if len(two.azure.endpoints.counted) % 4 == 3 else answer
    )
    for _ in range(8):
        two.call("invoke", "--env", "dev", "--deployment", challenger)
    two.azure.endpoints.spoil = None
    ab(two, "--share", "20")

    result = ab(two, "--compare")

    assert result.status == 0, result.err
    head, *lines = result.out.splitlines()
    assert head.split() == [champion, challenger]
    measures = {line.split()[0]: line.split()[1:] for line in lines[:4]}
    counted = two.azure.endpoints.counted
    challenger_statuses = [status for name, status in counted[:-2] if name == challenger]
    failed = sum(status >= 500 for status in challenger_statuses)
    assert measures["requests"][1] == str(len(challenger_statuses))
    assert measures["errors"][1] == f"{failed / len(challenger_statuses):.4g}"
    assert measures["latency_p95"] == ["7", "7"]
    row_count, energy, is_high = lines[-3:]
    times = pd.to_datetime(hours()["time"])
    assert row_count == f"of {sum(times > times.max() - pd.Timedelta(days=2))} newest rows:"
    assert energy.startswith("  energy differs in 0, at most by 0; mean ")
    assert is_high.startswith("  is_high differs in ")
    one, other = map(int, is_high.split("; true in ")[1].split(" and "))
    assert one > other > 0  # the thresholds are 400 and 420


def test_a_challenger_that_does_not_answer_gets_no_traffic(two: Site) -> None:
    before = two.state
    _, challenger = names(two)

    def dead(name: str, answer: Answer) -> Answer:
        return Answer(500, {}) if name == challenger else answer

    two.azure.endpoints.spoil = dead
    result = ab(two, "--share", "20")

    assert result.status == 1
    assert two.state == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--share", "100"), "write 1 to 99"),
        ((), "give one of --share, --compare and --end"),
        (("--share", "20", "--compare"), "give one of --share, --compare and --end"),
        (("--end", "champion"), "No A/B test is under way"),
        (("--compare",), "No A/B test is under way"),
        (("--compare", "--challenger", "x"), "--challenger requires --share"),
        (("--share", "20", "--challenger", "v9-none"), "There is no v9-none that is ready"),
    ],
)
def test_invalid_options_change_nothing(
    two: Site, azure: StandIn, arguments: tuple[str, ...], message: str
) -> None:
    answer = ab(two, *arguments)

    assert answer.status == 2
    assert message in answer.err
    assert changes(azure) == []


def test_one_deployment_is_not_compared_with_itself(served: Site) -> None:
    result = ab(served, "--share", "20")

    assert result.status == 2
    assert "There is only one deployment" in result.err


def test_without_the_right_to_read_metrics_the_required_role_is_named(
    two: Site, azure: StandIn
) -> None:
    ab(two, "--share", "20")
    azure.fail("GET", "Microsoft.Insights", 403)

    result = ab(two, "--compare")

    assert result.status == 2
    assert "Monitoring Reader" in result.err
