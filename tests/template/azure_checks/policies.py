"""Things that Azure Pipelines allows and that are wrong: secrets, and what others may move."""

import re
from collections.abc import Iterator
from typing import Any

from tests.template.azure_checks.document import Fault, Items, Mapping, Text, place_of
from tests.template.azure_checks.marks import OPEN, directive

_RETIRED = re.compile(
    r"(?i)ubuntu-?1[0-9]\.04|ubuntu-20\.04|macos-?1[0-3](\.\d+)?|macos-10\.\d+|windows-201[0-9]"
    r"|vs20\d\d-win20\d\d\w*|win1803"
)
_MOVING = re.compile(r"(?i)(ubuntu|windows|macos)-latest")
_SECRET_NAME = re.compile(
    r"(?i)secret|passw|(?<![a-z])pwd|token|api_?key|access_?key|account_?key|connection_?string"
    r"|(?<![a-z])sas(?![a-z])|(?<![a-z])pat(?![a-z])|credential|servicePrincipalKey"
)
_CLIENT_SECRET = re.compile(r"(?i)(client|principal)_?-?(secret|key|password)$")
_OF_POOL = ("name", "demands", "vmImage")
_OF_REFERENCE = ("template", "parameters", "context")
_KEPT_ELSEWHERE = ("$(", "$[", OPEN)
_FEDERATE = "sign in by the service connection (workload identity) instead"


def faults_of(document: Mapping) -> Iterator[Fault]:
    """Report what is unsafe in a file as it is written."""
    resources = document.get("resources")
    listed = resources.get("repositories") if isinstance(resources, Mapping) else None
    repositories = [r for r in listed or () if isinstance(r, Mapping)]
    yield from _of_repositories(repositories)
    yield from _of_value(document, "", {str(r.get("repository")) for r in repositories})


def _of_repositories(repositories: list[Mapping]) -> Iterator[Fault]:
    for repository in repositories:
        ref = str(repository.get("ref", ""))
        if not ref.startswith("refs/tags/"):
            name, place = repository.get("name", "?"), repository.place_of("ref")
            moves = f"the branch {ref.removeprefix('refs/heads/')}" if ref else "its main branch"
            yield Fault(place, f"{name} is used as {moves} is at the time: name a tag in ref")


def _of_value(value: Any, inside: str, repositories: set[str]) -> Iterator[Fault]:
    """Look at a value that is ``inside`` a key, directives not counted."""
    if isinstance(value, Text):
        yield from _of_image(value)
    elif isinstance(value, Items):
        for item in value:
            yield from _of_value(item, inside, repositories)
    elif isinstance(value, Mapping):
        name = value.get("name")
        if isinstance(name, Text) and "value" in value:
            yield from _of_secret(name, value["value"])
        if inside not in ("env", "variables", "inputs"):  # where keys are names of others
            yield from _of_keys(value)
        for key, inner in value.items():
            if inside in ("env", "variables"):
                yield from _of_secret(key, inner)
            yield from _of_pair(key, inner, repositories)
            yield from _of_value(inner, inside if directive(key) else key, repositories)


def _of_keys(value: Mapping) -> Iterator[Fault]:
    """Look for keys that the schema lets through or does not ask for."""
    pool = value.get("pool")
    for key in pool if isinstance(pool, Mapping) else ():
        if key not in _OF_POOL and directive(key) is None:
            yield Fault(key.place, f"a pool has no {key}: it has {', '.join(_OF_POOL)}")
    if "pool" in value and not pool:
        yield Fault(value.place_of("pool"), "the pool is empty: name a vmImage or a pool")
    if isinstance(value.get("template"), Text):
        for key in value:
            if key not in _OF_REFERENCE and directive(key) is None:
                text = f"beside template there is no {key}: there is parameters"
                yield Fault(key.place, text)
    if "deployment" in value and not value.get("environment"):
        text = "this deployment names no environment, so nobody has to approve it"
        yield Fault(value.place_of("deployment"), f"{text}: add environment")


def _of_pair(key: Text, value: Any, repositories: set[str]) -> Iterator[Fault]:
    place, text = place_of(value, key.place), value if isinstance(value, Text) else ""
    other = text.partition("@")[2] if key == "template" else ""
    if other not in ("", "self", *repositories):
        moves = f"{text}: resources.repositories names no {other}, and its branch would move"
        yield Fault(place, f"{moves}: keep templates in this repository")
    if key == "checkout" and "://" in text and "@refs/tags/" not in text:
        yield Fault(place, f"{text} is another repository as it is at the time: name a tag")
    if key == "addSpnToEnvironment" and text.lower() == "true":
        yield Fault(place, f"addSpnToEnvironment hands the identity to the script: {_FEDERATE}")


def judges_image(image: str) -> bool:
    """Return whether something is said here about an image already."""
    return bool(_RETIRED.fullmatch(image) or _MOVING.fullmatch(image))


def _of_image(image: Text) -> Iterator[Fault]:
    if _RETIRED.fullmatch(image):
        yield Fault(image.place, f"{image} is retired, no agent has it: use ubuntu-24.04")
    elif _MOVING.fullmatch(image):
        yield Fault(image.place, f"{image} changes by itself: name a version, such as ubuntu-24.04")


def _of_secret(name: Text, value: Any) -> Iterator[Fault]:
    place = place_of(value, name.place)
    if _CLIENT_SECRET.search(name):
        yield Fault(place, f"{name} is the secret of a client: {_FEDERATE}")
    elif _SECRET_NAME.search(name) and _is_written_down(value):
        text = f"{name} looks like a secret that is written down: keep it in a key vault"
        yield Fault(place, f"{text} or a secret variable of the pipeline")


def _is_written_down(value: Any) -> bool:
    return isinstance(value, Text) and value and not any(m in value for m in _KEPT_ELSEWHERE)
