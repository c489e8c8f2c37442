"""Carries out a plan: a new deployment gets the traffic step by step, or all is as it was."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from operation.deployment.back import Say, take_back, what_is_where
from operation.deployment.config import Deployment
from operation.deployment.endpoint import OnlineEndpoint, State, shares, wait
from operation.deployment.plan import (
    BEFORE,
    KEEP,
    NEW,
    Plan,
    divided,
    make_plan,
    tags_after,
    written,
)
from operation.deployment.smoke import Expected, refuse_no_answer, smoke
from operation.errors import OperationError, RefusedError

if TYPE_CHECKING:
    from azure.ai.ml.entities import ManagedOnlineDeployment

_LINES_OF_LOG = 20


@dataclass(frozen=True)
class Rollout:
    """A deployment on its way; ``build`` uploads what it needs and describes it to Azure.

    ``tell``, as in ``operation.ci``, is told ``moved`` once the traffic stays where it was moved:
    with the new deployment, or under way where it cannot be taken back.
    """

    endpoint: OnlineEndpoint
    config: Deployment
    expected: Expected
    build: Callable[[], "ManagedOnlineDeployment"]
    say: Say
    tell: Callable[..., None] = lambda **_: None

    def run(self, plan: Plan) -> None:
        """Carry out a plan.

        Whatever fails, traffic, tags and deployments are as they were before. Only an endpoint that
        was made stays, and one of this name that had failed before stays deleted.

        Raises
        ------
        RefusedError
            If the deployment does not pass its smoke test.
        OperationError
            If anything else fails; the message says what could not be taken back.
        """
        if plan.creates_endpoint:
            self.say(f"making the endpoint {self.endpoint.name}")
            self.endpoint.create()
        if plan.replaces_failed:
            self.say(f"deleting {plan.new}, which has failed before")
            self.endpoint.delete(plan.new)
        with self._taken_back(plan):
            if plan.creates:
                entity = self.build()
                self.say(f"making the deployment {plan.new} at 0 %, that takes minutes")
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
        self.tell(moved=True)
        self.endpoint.route(plan.before, _under_way(plan), {plan.new: mirror.percent})
        wait(mirror.seconds, f"{plan.new} gets a copy of the traffic", self.say)
        self._smoke(plan)

    def _move(self, plan: Plan) -> None:
        for step in plan.steps:
            traffic = divided(plan.before, plan.new, step)
            is_last = step == plan.steps[-1]
            self.say(f"traffic: {shares(traffic)}")
            # before it is so: a CI run that is cut off here has to know that there is a way back
            self.tell(moved=True)
            self.endpoint.route(traffic, _under_way(plan))
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
        """Note until when a deployment without traffic is kept."""
        state = self.endpoint.read()
        as_if = State(traffic={name: 100}, tags=state.tags, deployments=state.deployments)
        tag = tags_after(as_if, [], self.config, datetime.now(UTC))[KEEP + name]
        self.endpoint.route(state.traffic, {**state.tags, KEEP + name: tag}, state.mirror)

    @contextmanager
    def _taken_back(self, plan: Plan) -> Iterator[None]:
        """Undo what was done if it fails or is interrupted."""
        try:
            yield
        except BaseException as error:
            with suppress(Exception, KeyboardInterrupt):  # the log is not worth the way back
                self._show_log(plan, error)
            try:
                take_back(self.endpoint, plan, self.say)
                with suppress(OSError):
                    self.tell(moved=False)
            except BaseException as second:  # noqa: BLE001
                raise OperationError(what_is_where(self.endpoint, plan, error, second)) from error
            if isinstance(error, OperationError | RefusedError) or not isinstance(error, Exception):
                raise
            fault = f"{type(error).__name__}: {error}"
            raise OperationError(f"{plan.new} was taken back after a fault, {fault}") from error

    def _show_log(self, plan: Plan, error: BaseException) -> None:
        if plan.creates and not isinstance(error, KeyboardInterrupt):
            for line in self.endpoint.logs(plan.new, _LINES_OF_LOG).splitlines()[-_LINES_OF_LOG:]:
                self.say(f"{plan.new} | {line}")


def plan_of(
    endpoint: OnlineEndpoint, new: str, config: Deployment, *, traffic: bool = True
) -> Plan:
    """Read the endpoint and plan; see ``make_plan``."""
    return make_plan(endpoint.read(), new, config, datetime.now(UTC), traffic=traffic)


def _under_way(plan: Plan) -> dict[str, str]:
    return {**plan.tags, NEW: plan.new, BEFORE: written(plan.before)}
