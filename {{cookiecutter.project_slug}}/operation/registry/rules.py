"""Whether a version may enter an environment, by the numbers that it carries."""

from collections.abc import Callable, Sequence

from {{ cookiecutter.package_name }}.gate import (
    Rule,
    champion_rules,
    level_rules,
    limit_rules,
    marked,
    rule,
)
from {{ cookiecutter.package_name }}.parameters import GateParameters
from {{ cookiecutter.package_name }}.tracking.facts import (
    GATE,
    PASSED,
    claimed_numbers,
    failed_reasons,
    numbers_of,
)

from operation.registry.interface import RefusedError, Registry, Version


def entry_rules(version: Version, champion: Version | None, gate: GateParameters) -> list[Rule]:
    """Ask the gate's rules of a version that another environment's gate has passed.

    Parameters
    ----------
    champion
        Of the environment that the version shall enter.
    gate
        The rules of that environment.
    """
    verdict = version.tags.get(GATE)
    said = {None: "the gate has not judged it", PASSED: "the gate has passed it"}
    reason = said.get(verdict, f"the gate has {verdict} it: {failed_reasons(version.tags)}")
    measured = numbers_of(version.tags)
    rules = [rule("gate", verdict == PASSED, reason)]
    rules += limit_rules(measured, gate)
    rules += level_rules(measured, gate)
    if champion is None:
        return [*rules, rule("champion", True, "there is no champion yet")]
    return rules + champion_rules(measured, claimed_numbers(champion.tags), champion.number, gate)


def refuse_by(
    rules: Sequence[Rule], version: Version, registry: Registry, say: Callable[[str], None]
) -> None:
    """Say what each rule has decided, and go on only if all of them hold.

    Raises
    ------
    RefusedError
        With the reasons of those that do not.
    """
    for one in rules:
        say(f"  {marked(one)}")
    reasons = [one["reason"] for one in rules if not one["passed"]]
    if reasons:
        raise RefusedError(
            f"{version} does not become champion of {registry.env}: {'; '.join(reasons)}. The "
            f"rules are gate in parameters.yml of {registry.env}."
        )
