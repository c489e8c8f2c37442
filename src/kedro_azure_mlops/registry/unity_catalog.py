"""Models in Unity Catalog: an MLflow client that respects the documented limits of its tags.

A tag name may not contain ``. , - = / :``; its value has at most 1,000 characters, and an object
at most 50 tags. So tags such as ``metrics.r2`` are grouped by the part before the dot: the tag
``metrics_json`` holds ``{"metrics.r2": "0.7"}``, and a text that is too long continues in
``metrics_json_<checksum>_2``. Such tags are written before ``metrics_json``, which names the
checksum: until then the old text is complete. Versions are listed without their tags, which are
fetched one by one.
"""

import json
import logging
import re
from collections.abc import Callable, Mapping
from typing import Any
from zlib import crc32

from kedro_azure_mlops.hooks.databricks import is_missing_model

_LONGEST = 1000
_PLAIN = re.compile(r"\w+")
_STORED = re.compile(r"(\w+?_json)(?:_[0-9a-f]{8}_\d+)?")
_FIRST = re.compile(r"(\d+) ([0-9a-f]{8}) (.*)", re.DOTALL)
_EARLIER_NAME = re.compile(r"(\w+?_json)(?:_(\d+))?")
_EARLIER_PIECE = re.compile(r"(\d+)/(\d+) ([0-9a-f]{8}) (.*)", re.DOTALL)
_HEAD = 24  # most characters of the header of a first piece: their number and a checksum

logger = logging.getLogger(__name__)


def pack_tags(tags: Mapping[str, str]) -> dict[str, str]:
    """Return tags in the form that Unity Catalog can store."""
    groups: dict[str, dict[str, str]] = {}
    packed = {}
    for name, text in tags.items():
        if _PLAIN.fullmatch(name) and not _STORED.fullmatch(name) and len(text) <= _LONGEST:
            packed[name] = text
        else:
            group = re.sub(r"\W", "_", name.split(".")[0])
            groups.setdefault(f"{group}_json", {})[name] = text
    for group, members in groups.items():
        packed |= _pieces(group, json.dumps(members, sort_keys=True, ensure_ascii=False))
    return packed


def unpack_tags(stored: Mapping[str, str]) -> dict[str, str]:
    """Return the packed tags by their original names, and tags set by others unchanged.

    A text without all of its pieces is left out.
    """
    stored = dict(_renamed(name, text) for name, text in stored.items())
    tags = {name: text for name, text in stored.items() if not _STORED.fullmatch(name)}
    groups = {match[1] for name in stored if (match := _STORED.fullmatch(name))}
    for group in groups & stored.keys():  # others have no first piece yet
        text = _joined(group, stored)
        if text is None:
            logger.warning("The tag %s is incomplete, so what it holds is not known.", group)
        else:
            members = _members(text)
            tags |= {group: text} if members is None else members
    return tags


def _pieces(group: str, text: str) -> dict[str, str]:
    """Return the tags for a text, the first piece last: the others do not count without it."""
    if len(text) <= _LONGEST:
        return {group: text}
    size, check = _LONGEST - _HEAD, f"{crc32(text.encode()):08x}"
    first, *others = (text[start : start + size] for start in range(0, len(text), size))
    named = {f"{group}_{check}_{n}": piece for n, piece in enumerate(others, 2)}
    return named | {group: f"{len(named) + 1} {check} {first}"}


def _renamed(name: str, text: str) -> tuple[str, str]:
    """Convert a piece ``metrics_json_2: 2/3 <checksum> ...`` of earlier versions to this form."""
    named, piece = _EARLIER_NAME.fullmatch(name), _EARLIER_PIECE.fullmatch(text)
    if not (named and piece) or piece[1] != (named[2] or "1"):
        return name, text
    number, count, check, rest = piece.groups()
    if number == "1":
        return name, f"{count} {check} {rest}"
    return f"{named[1]}_{check}_{number}", rest


def _joined(group: str, stored: Mapping[str, str]) -> str | None:
    """Return the text of a group; None if a piece is missing or was changed."""
    first = _FIRST.fullmatch(stored[group])
    if first is None:
        return stored[group]
    names = (f"{group}_{first[2]}_{n}" for n in range(2, int(first[1]) + 1))
    text = "".join([first[3], *(stored.get(name, "") for name in names)])
    return text if f"{crc32(text.encode()):08x}" == first[2] else None


def _members(text: str) -> dict[str, str] | None:
    """Return the tags in the text of a group; None if the tag was set by something else."""
    try:
        found = json.loads(text)
    except ValueError:
        return None
    is_ours = isinstance(found, dict) and all(isinstance(one, str) for one in found.values())
    return found if is_ours else None


class UnityCatalogClient:
    """MLflow's client of Unity Catalog, with tags like those of any other registry.

    Parameters
    ----------
    client
        An ``mlflow.MlflowClient``, which has all methods that are not defined here.
    """

    has_aliases = True

    def __init__(self, client: Any) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def search_model_versions(self, *args: Any, **kwargs: Any) -> Any:
        """List the versions whose files are complete, each with its tags."""
        listed = self._client.search_model_versions(*args, **kwargs)
        # a version that is not READY was interrupted while its files were stored
        found = (self._known(v.name, v.version) for v in listed if v.status == "READY")
        return type(listed)([one for one in found if one is not None], listed.token)

    def get_model_version(self, name: str, version: str) -> Any:
        """Return a version."""
        return _unpacked(self._client.get_model_version(name, version))

    def get_model_version_by_alias(self, name: str, alias: str) -> Any:
        """Return the version that holds an alias."""
        return _unpacked(self._client.get_model_version_by_alias(name, alias))

    def create_model_version(
        self, name: str, source: str, run_id: str, tags: Mapping[str, str]
    ) -> Any:
        """Store the files of a model as a version."""
        return self._client.create_model_version(name, source, run_id, tags=pack_tags(tags))

    def set_model_version_tag(self, name: str, version: str, key: str, value: str) -> None:
        """Set a tag, replacing one of the same name."""
        self._retag(name, version, lambda tags: tags | {key: value})

    def delete_model_version_tag(self, name: str, version: str, key: str) -> None:
        """Remove a tag, if it exists."""
        self._retag(name, version, lambda tags: {k: v for k, v in tags.items() if k != key})

    def create_registered_model(self, name: str, tags: Mapping[str, str] | None = None) -> Any:
        """Create a registered model without versions."""
        return self._client.create_registered_model(name, tags=pack_tags(tags or {}))

    def get_registered_model(self, name: str) -> Any:
        """Return a registered model."""
        return _unpacked(self._client.get_registered_model(name))

    def _known(self, name: str, version: str) -> Any | None:
        """Return a version; None if it was deleted in the meantime."""
        from mlflow import MlflowException

        try:
            return self.get_model_version(name, version)
        except MlflowException as error:
            if not is_missing_model(error):
                raise
            return None

    def _retag(
        self, name: str, version: str, change: Callable[[dict[str, str]], dict[str, str]]
    ) -> None:
        stored = dict(self._client.get_model_version(name, version).tags)
        wanted = pack_tags(change(unpack_tags(stored)))
        for key, text in wanted.items():
            if stored.get(key) != text:
                self._client.set_model_version_tag(name, version, key, text)
        for key in stored.keys() - wanted.keys():
            self._client.delete_model_version_tag(name, version, key)


def _unpacked(found: Any) -> Any:
    """Return an entity whose tags are unpacked."""
    found._tags = unpack_tags(found.tags)  # the property ``tags`` of a model is a copy
    return found
