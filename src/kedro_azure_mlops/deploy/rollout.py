"""Online deployments: traffic moves to a new one step by step, or everything stays unchanged."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from kedro_azure_mlops.azure.attached import refuse_unattached
from kedro_azure_mlops.azure.workspace import workspace
from kedro_azure_mlops.ci import report_outputs
from kedro_azure_mlops.config import Deployment, Target, deployment_of, read_mlops
from kedro_azure_mlops.deploy.artifact import (
    Say,
    collections_of,
    deployment_settings,
    describe_deployment,
    download_contract,
    fetch_artifact,
    write_code,
)
from kedro_azure_mlops.deploy.endpoint import Found, OnlineEndpoint, State, format_shares, wait
from kedro_azure_mlops.deploy.plan import (
    BEFORE,
    KEEP,
    NEW,
    Plan,
    divided,
    expired,
    forgotten,
    kept,
    make_plan,
    plan_lines,
    refuse_if_under_way,
    say_if_test_is_over,
    tags_after,
    traffic_as_tag,
    traffic_of_tag,
)
from kedro_azure_mlops.deploy.smoke import Expected, expected_of, refuse_no_answer, smoke
from kedro_azure_mlops.errors import OperationError, RefusedError

if TYPE_CHECKING:
    from azure.ai.ml import MLClient
    from azure.ai.ml.entities import OnlineDeployment

_LOG_LINES = 20


def deploy_online(
    env: str,
    root: Path | None = None,
    *,
    version: str | None = None,
    target: Target | None = None,
    traffic: bool = True,
    dry_run: bool = False,
    say: Say = print,
) -> str:
    """Deploy the champion to the online endpoint of an environment; return the deployment's name.

    The new deployment is tested without traffic, then gets the shares in ``deployment.traffic`` one
    after the other, with a smoke test after each. If anything fails, or the process is interrupted,
    traffic is restored and the new deployment deleted. The same model, code and settings are
    deployed only once. In CI the outputs ``deployment`` (its name) and ``moved`` (whether this call
    moved traffic to it) are reported to later steps.

    Parameters
    ----------
    version
        A number or the beginning of a digest, instead of the champion.
    target
        ``managed`` machines or ``kubernetes``, instead of ``deployment.target``.
    traffic
        False creates and tests the deployment but gives it no traffic, as for an A/B test.
    dry_run
        Report the plan and change nothing.
    say
        Called with each line of progress; lines of the plan are indented.

    Raises
    ------
    RefusedError
        If the new deployment does not pass its smoke test.
    OperationError
        If there is no such model or attached cluster, the endpoint has the other target, another
        change is under way, or Azure refuses or cannot be reached; the message states what could
        not be undone.
    """
    root = root or Path.cwd()
    config = deployment_of(root, env, target)
    client = workspace(env, root)
    recording = read_mlops(root, env).recording
    settings = deployment_settings(root, config, recording)
    if config.cluster:
        refuse_unattached(client, config.cluster)
    artifact = fetch_artifact(env, root, version)
    say(f"{env}: {artifact.version}")
    code = write_code(env, root, artifact, is_champion=version is None)
    expected = expected_of(artifact.folder, artifact.version.digest)
    name = artifact.deployment_name(settings, code)
    report_outputs(deployment=name, moved=False)
    endpoint = OnlineEndpoint(client, config, env)
    state = endpoint.read()
    say_if_test_is_over(state, say)
    plan = make_plan(state, name, config, datetime.now(UTC), traffic=traffic)
    for other in plan.forgotten:
        say(
            f"{other} has no traffic and is no longer kept; to delete it, run: kedro mlops deploy "
            f"online --env {env} --clean"
        )
    if plan.is_nothing:
        say(f"{name} is deployed at {config.endpoint}, nothing to change")
        return name
    for line in plan_lines(plan, config, collections_of(root, recording)):
        say(f"  {line}")
    if dry_run:
        say("nothing was changed")
        return name
    build = partial(describe_deployment, client, root, config, recording, artifact, name, code, say)
    Rollout(endpoint, config, expected, build, say, report_outputs).run(plan)
    delete_unused(endpoint, say, also_forgotten=False, keep={name})
    say(f"{name} is deployed at {config.endpoint}")
    return name


def go_back(
    env: str,
    root: Path | None = None,
    *,
    only_from: str | None = None,
    say: Say = print,
) -> dict[str, int] | None:
    """Return traffic to the kept deployment; return the new shares, or None if none is kept.

    An interrupted rollout is undone instead. The kept deployment must pass its smoke test, unless
    its model is no longer in the workspace.

    Parameters
    ----------
    only_from
        The deployment to roll back, for callers that cannot know whether another rollout has
        happened in the meantime.

    Raises
    ------
    RefusedError
        If the kept deployment does not pass its smoke test, or ``only_from`` has no traffic (any
        more); nothing is changed then.
    OperationError
        If an A/B test is under way, or Azure refuses or cannot be reached.
    """
    root = root or Path.cwd()
    config = deployment_of(root, env)
    client = workspace(env, root)
    endpoint = OnlineEndpoint(client, config, env)
    state = endpoint.read()
    say_if_test_is_over(state, say)
    if only_from:
        _refuse_other(endpoint, state, only_from)
    refuse_if_under_way(state, state.tags.get(NEW, ""))
    if NEW in state.tags:
        plan = _plan_of_interrupted(state)
        undo(endpoint, plan, say)
        return dict(plan.before)
    if not (names := kept(state)):
        return None
    name = names[0]
    if expected := _expected_of(client, state.deployments[name], say):
        smoke(endpoint, expected, name)
    say(f"traffic: {name} 100 %")
    endpoint.route({name: 100}, tags_after(state, [name], config, datetime.now(UTC)))
    return {name: 100}


def clean_up(env: str, root: Path | None = None, *, say: Say = print) -> list[str]:
    """Delete the deployments without traffic whose retention period is over or was never set.

    Returns
    -------
    The names of the deleted deployments.

    Raises
    ------
    OperationError
        If Azure refuses or cannot be reached.
    """
    root = root or Path.cwd()
    endpoint = OnlineEndpoint(workspace(env, root), deployment_of(root, env), env)
    return delete_unused(endpoint, say, also_forgotten=True)


@dataclass(frozen=True)
class Rollout:
    """The rollout of a deployment; ``build`` uploads its parts and returns its description.

    ``report``, such as ``ci.report_outputs``, gets ``moved``: True just before traffic moves to
    the new deployment, False once all traffic was moved back.
    """

    endpoint: OnlineEndpoint
    config: Deployment
    expected: Expected
    build: Callable[[], "OnlineDeployment"]
    say: Say
    report: Callable[..., None] = lambda **_: None

    def run(self, plan: Plan) -> None:
        """Carry out a plan.

        If anything fails, traffic, tags and deployments are restored, with two exceptions: a new
        endpoint stays, and a deployment of this name that had failed before stays deleted.

        Raises
        ------
        RefusedError
            If the deployment does not pass its smoke test.
        OperationError
            If anything else fails; the message states what could not be undone.
        """
        if plan.creates_endpoint:
            self.say(f"creating the endpoint {self.endpoint.name}")
            self.endpoint.create()
        if (address := self.endpoint.address()).startswith("http:"):
            self.say(
                f"{self.endpoint.name} is called without TLS, at {address}: tokens and rows can be "
                "read in transit. Give the cluster's extension a certificate"
            )
        if plan.replaces_failed:
            self.say(f"deleting {plan.new}, which has failed before")
            self.endpoint.delete(plan.new)
        with self._undone_on_failure(plan):
            if plan.creates:
                entity = self.build()
                self.say(f"creating the deployment {plan.new} at 0 %, which takes a few minutes")
                self.endpoint.deploy(entity)
            if plan.creates or plan.steps:
                self._smoke(plan)
            self._mirror(plan)
            self._move(plan)
        if plan.holds:
            self._keep(plan.new)

    def _mirror(self, plan: Plan) -> None:
        mirror = self.config.mirror
        if not plan.mirrors or mirror is None:
            return
        self.say(f"mirroring {mirror.percent} % of the traffic to {plan.new}")
        self.report(moved=True)
        self.endpoint.route(plan.before, _tags_under_way(plan), {plan.new: mirror.percent})
        wait(mirror.seconds, f"{plan.new} gets a copy of the traffic", self.say)
        self._smoke(plan)

    def _move(self, plan: Plan) -> None:
        for step in plan.steps:
            traffic = divided(plan.before, plan.new, step)
            is_last = step == plan.steps[-1]
            self.say(f"traffic: {format_shares(traffic)}")
            # reported first: a CI run that is interrupted here must know that it can go back
            self.report(moved=True)
            self.endpoint.route(traffic, _tags_under_way(plan))
            self._smoke(plan)
            refuse_no_answer(self.endpoint, self.expected.body)
            if not is_last and (seconds := self.config.seconds_between_steps):
                wait(seconds, f"{plan.new} has {step} %", self.say)
                self._smoke(plan)
        if plan.steps:
            state = self.endpoint.read()
            old = State(traffic=plan.before, tags=state.tags, deployments=state.deployments)
            tags = tags_after(old, [plan.new], self.config, datetime.now(UTC))
            self.endpoint.route(state.traffic, tags)

    def _smoke(self, plan: Plan) -> None:
        smoke(self.endpoint, self.expected, plan.new)
        self.say(f"smoke test of {plan.new} passed")

    def _keep(self, name: str) -> None:
        """Record how long a deployment without traffic is kept."""
        state = self.endpoint.read()
        as_if = State(traffic={name: 100}, tags=state.tags, deployments=state.deployments)
        tag = tags_after(as_if, [], self.config, datetime.now(UTC))[KEEP + name]
        self.endpoint.route(state.traffic, {**state.tags, KEEP + name: tag}, state.mirror)

    @contextmanager
    def _undone_on_failure(self, plan: Plan) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            with suppress(Exception, KeyboardInterrupt):  # a missing log must not stop the undo
                self._show_log(plan, error)
            try:
                undo(self.endpoint, plan, self.say)
                with suppress(OSError):
                    self.report(moved=False)
            except BaseException as second:  # noqa: BLE001
                raise OperationError(_failed_undo(self.endpoint, plan, error, second)) from error
            if isinstance(error, OperationError | RefusedError) or not isinstance(error, Exception):
                raise
            fault = f"{type(error).__name__}: {error}"
            raise OperationError(f"{plan.new} was rolled back after an error: {fault}") from error

    def _show_log(self, plan: Plan, error: BaseException) -> None:
        if plan.creates and not isinstance(error, KeyboardInterrupt):
            for line in self.endpoint.logs(plan.new, _LOG_LINES).splitlines()[-_LOG_LINES:]:
                self.say(f"{plan.new} | {line}")


def undo(endpoint: OnlineEndpoint, plan: Plan, say: Say) -> None:
    """Restore traffic and tags, and delete the new deployment.

    Raises
    ------
    OperationError
        If Azure refuses or cannot be reached.
    """

    def try_to_report(text: str) -> None:
        with suppress(OSError):  # a cancelled CI run has closed the stream, but undoing continues
            say(text)

    state = endpoint.read()
    if (state.traffic, state.mirror, state.tags) != (plan.before, {}, plan.tags):
        try_to_report(f"restoring the traffic: {format_shares(plan.before)}")
        endpoint.route(plan.before, plan.tags)
    made_here = plan.creates or KEEP + plan.new not in plan.tags
    if plan.new in state.deployments and made_here and not plan.before.get(plan.new):
        try_to_report(f"deleting the deployment {plan.new}")
        endpoint.delete(plan.new)


def delete_unused(
    endpoint: OnlineEndpoint, say: Say, *, also_forgotten: bool, keep: Collection[str] = ()
) -> list[str]:
    """Delete deployments no longer kept, optionally also those never kept, except ``keep``.

    Raises
    ------
    OperationError
        If Azure refuses or cannot be reached.
    """
    state = endpoint.read()
    found = expired(state, datetime.now(UTC)) + (forgotten(state) if also_forgotten else [])
    names = [name for name in found if name not in keep]
    for name in names:
        say(f"deleting the deployment {name}")
        endpoint.delete(name)
    if tags := {KEEP + name for name in names} & set(state.tags):
        left = {key: value for key, value in state.tags.items() if key not in tags}
        endpoint.route(state.traffic, left, state.mirror)
    return names


def _tags_under_way(plan: Plan) -> dict[str, str]:
    return {**plan.tags, NEW: plan.new, BEFORE: traffic_as_tag(plan.before)}


def _plan_of_interrupted(state: State) -> Plan:
    """Return the parts of an interrupted rollout's plan that are needed to undo it."""
    return Plan(
        new=state.tags[NEW],
        before=traffic_of_tag(state.tags[BEFORE]),
        tags={key: value for key, value in state.tags.items() if key not in {NEW, BEFORE}},
        creates_endpoint=False,
        creates=False,
        replaces_failed=False,
        steps=(),
        mirrors=False,
        retired=(),
    )


def _expected_of(client: "MLClient", deployment: Found, say: Say) -> Expected | None:
    """Return a deployment's expected answer; None if its model is missing: it may serve anyway."""
    try:
        contract = download_contract(client, deployment.tags)
    except Exception as error:  # noqa: BLE001, no error may prevent the rollback
        say(f"{deployment.name} gets the traffic without a smoke test: {error}")
        return None
    return Expected(deployment.tags.get("digest", ""), contract)


def _refuse_other(endpoint: OnlineEndpoint, state: State, name: str) -> None:
    serves = state.tags[NEW] == name if NEW in state.tags else state.traffic.get(name, 0) > 0
    if not serves:
        raise RefusedError(
            f"{endpoint.name} does not serve {name}, and no rollout of it is under way: traffic is "
            f"{format_shares(state.traffic)}. Nothing was changed."
        )


def _failed_undo(
    endpoint: OnlineEndpoint, plan: Plan, error: BaseException, second: BaseException
) -> str:
    """Return a message for a failed undo, with the current traffic and deployments."""
    first = str(error) or "it was interrupted"
    failed = f"{plan.new} was not deployed: {first}\nUndoing it failed too: {second}\n"
    option = "--back"
    try:
        state = endpoint.read()
        # if no traffic was moved, there is only a deployment to delete
        option = "--back" if NEW in state.tags else "--clean"
        names = ", ".join(state.deployments) or "none"
        current = f"Traffic is {format_shares(state.traffic)}; the deployments are: {names}."
    except BaseException:  # noqa: BLE001, report at least what is known
        before = format_shares(plan.before)
        current = f"The state of {endpoint.name} cannot be read; traffic was {before} before."
    return (
        f"{failed}{current} When Azure answers again, run: "
        f"kedro mlops deploy online --env {endpoint.env} {option}"
    )
