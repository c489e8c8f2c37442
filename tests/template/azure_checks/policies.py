"""Check for unsafe practices that Azure Pipelines allows: secrets and moving references."""

import re
from collections.abc import Iterator
from typing import Any

from tests.template.azure_checks.document import Fault, Items, Mapping, Text, location_of
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
_POOL_KEYS = ("name", "demands", "vmImage")
_REFERENCE_KEYS = ("template", "parameters", "context")
_INDIRECT = ("$(", "$[", OPEN)
_FEDERATE = "sign in by the service connection (workload identity) instead"


def faults_of(document: Mapping) -> Iterator[Fault]:
    """Yield unsafe settings of a file before it is expanded."""
    resources = document.get("resources")
    listed = resources.get("repositories") if isinstance(resources, Mapping) else None
    repositories = [r for r in listed or () if isinstance(r, Mapping)]
    yield from _repository_faults(repositories)
    yield from _value_faults(document, "", {str(r.get("repository")) for r in repositories})


def _repository_faults(repositories: list[Mapping]) -> Iterator[Fault]:
    for repository in repositories:
        ref = str(repository.get("ref", ""))
        if not ref.startswith("refs/tags/"):
            name, location = repository.get("name", "?"), repository.location_of("ref")
            moves = f"the branch {ref.removeprefix('refs/heads/')}" if ref else "its main branch"
            yield Fault(location, f"{name} follows {moves}: name a tag in ref")


def _value_faults(value: Any, inside: str, repositories: set[str]) -> Iterator[Fault]:
    """Check a value below the key ``inside``, not counting directives."""
    if isinstance(value, Text):
        yield from _image_faults(value)
    elif isinstance(value, Items):
        for item in value:
            yield from _value_faults(item, inside, repositories)
    elif isinstance(value, Mapping):
        name = value.get("name")
        if isinstance(name, Text) and "value" in value:
            yield from _secret_faults(name, value["value"])
        if inside not in ("env", "variables", "inputs"):  # whose keys are user-defined
            yield from _key_faults(value)
        for key, inner in value.items():
            if inside in ("env", "variables"):
                yield from _secret_faults(key, inner)
            yield from _pair_faults(key, inner, repositories)
            yield from _value_faults(inner, inside if directive(key) else key, repositories)


def _key_faults(value: Mapping) -> Iterator[Fault]:
    """Yield unknown and missing keys that the schema does not detect."""
    pool = value.get("pool")
    for key in pool if isinstance(pool, Mapping) else ():
        if key not in _POOL_KEYS and directive(key) is None:
            yield Fault(key.location, f"a pool has no {key}: it has {', '.join(_POOL_KEYS)}")
    if "pool" in value and not pool:
        yield Fault(value.location_of("pool"), "the pool is empty: name a vmImage or a pool")
    if isinstance(value.get("template"), Text):
        for key in value:
            if key not in _REFERENCE_KEYS and directive(key) is None:
                text = f"a template reference has no {key}: it has parameters"
                yield Fault(key.location, text)
    if "deployment" in value and not value.get("environment"):
        text = "this deployment names no environment, so it needs no approval"
        yield Fault(value.location_of("deployment"), f"{text}: add environment")


def _pair_faults(key: Text, value: Any, repositories: set[str]) -> Iterator[Fault]:
    location, text = location_of(value, key.location), value if isinstance(value, Text) else ""
    other = text.partition("@")[2] if key == "template" else ""
    if other not in ("", "self", *repositories):
        moves = f"{text}: resources.repositories names no {other}, and its branch would move"
        yield Fault(location, f"{moves}: keep templates in this repository")
    if key == "checkout" and "://" in text and "@refs/tags/" not in text:
        yield Fault(location, f"{text} is the current state of another repository: name a tag")
    if key == "addSpnToEnvironment" and text.lower() == "true":
        yield Fault(location, f"addSpnToEnvironment hands the identity to the script: {_FEDERATE}")


def reports_image(image: str) -> bool:
    """Return whether this check already reports an image."""
    return bool(_RETIRED.fullmatch(image) or _MOVING.fullmatch(image))


def _image_faults(image: Text) -> Iterator[Fault]:
    if _RETIRED.fullmatch(image):
        yield Fault(
            image.location, f"{image} is retired and not available on any agent: use ubuntu-24.04"
        )
    elif _MOVING.fullmatch(image):
        yield Fault(
            image.location, f"{image} changes over time: name a version, such as ubuntu-24.04"
        )


def _secret_faults(name: Text, value: Any) -> Iterator[Fault]:
    location = location_of(value, name.location)
    if _CLIENT_SECRET.search(name):
        yield Fault(location, f"{name} is the secret of a client: {_FEDERATE}")
    elif _SECRET_NAME.search(name) and _is_plain_text(value):
        text = f"{name} looks like a secret in plain text: keep it in a key vault"
        yield Fault(location, f"{text} or a secret variable of the pipeline")


def _is_plain_text(value: Any) -> bool:
    return isinstance(value, Text) and value and not any(m in value for m in _INDIRECT)
