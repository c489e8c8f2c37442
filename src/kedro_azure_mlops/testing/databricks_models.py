"""The two registries of a Databricks workspace, in the stand-in.

The workspace registry has no aliases, and its names have one level. Unity Catalog has aliases,
names of three levels, different rules for tags, and lists versions without their tags.
"""

import re
from collections.abc import Callable, Iterable, Mapping

from kedro_azure_mlops.testing.databricks_rules import (
    Body,
    DatabricksError,
    Route,
    as_tags,
    bad,
    found,
    missing,
    refuse_tag,
)

_LONGEST = 5000  # bytes of a tag in the workspace registry
_NAMED = re.compile(r"name\s*=\s*'([^']*)'")
# Unity Catalog: "Apply tags to Unity Catalog securable objects", constraints
_MOST_TAGS, _LONGEST_NAME, _LONGEST_VALUE, _RESERVED = 50, 255, 1000, ".,-=/:"
_DATA_LAKE = "abfss://models@standin.dfs.core.windows.net"
_METASTORE = "METASTORE_DOES_NOT_EXIST: No metastore is assigned to the current workspace."


class _Models:
    """Registered models, their versions and tags."""

    page = 10_000  # versions in one answer

    def __init__(self, files: dict[str, bytes]) -> None:
        self.models: dict[str, Body] = {}
        self._files = files

    def _refuse_name(self, name: str) -> None:
        raise NotImplementedError

    def _refuse_tags(self, tags: dict[str, str]) -> None:
        raise NotImplementedError

    def _store(self, version: Body) -> None:
        raise NotImplementedError

    def model(self, body: Body) -> Body:
        """Return a registered model.

        Raises
        ------
        DatabricksError
            If it does not exist.
        """
        name = str(body.get("name", ""))
        self._refuse_name(name)
        return found(self.models.get(name), f"Registered Model with name={name} not found")

    def version(self, body: Body) -> Body:
        """Return a version of a registered model.

        Raises
        ------
        DatabricksError
            If it does not exist.
        """
        model, number = self.model(body), str(body.get("version"))
        message = f"Model Version (name={body['name']}, version={number}) not found"
        return dict(found(model["versions"].get(number), message))

    def _create_model(self, body: Body) -> Body:
        name = str(body.get("name", ""))
        self._refuse_name(name)
        if name in self.models:
            raise DatabricksError(
                400, "RESOURCE_ALREADY_EXISTS", f"Registered Model {name} already exists"
            )
        self._refuse_tags(as_tags(body))
        self.models[name] = {"name": name, "tags": as_tags(body), "versions": {}, "aliases": {}}
        return {"registered_model": self._shown_model(self.models[name])}

    def _delete_model(self, body: Body) -> Body:
        del self.models[self.model(body)["name"]]
        return {}

    def _create_version(self, body: Body) -> Body:
        model = self.model(body)
        self._refuse_tags(as_tags(body))
        version = {
            "name": model["name"],
            "version": str(len(model["versions"]) + 1),
            "source": body.get("source", ""),
            "run_id": body.get("run_id", ""),
            "status": "READY",
            "tags": as_tags(body),
        }
        self._store(version)
        model["versions"][version["version"]] = version
        return {"model_version": self._shown(version)}

    def _search(self, body: Body) -> Body:
        wanted = _NAMED.fullmatch(body.get("filter", ""))
        if wanted is None:
            raise bad(f"The stand-in for Databricks does not support {body.get('filter')}")
        self._refuse_name(wanted[1])
        model = self.models.get(wanted[1])
        versions = list(model["versions"].values()) if model else []
        start = int(body.get("page_token") or 0)
        end = start + min(self.page, int(body.get("max_results") or self.page))
        more = {"next_page_token": str(end)} if end < len(versions) else {}
        return {"model_versions": [self._listed(one) for one in versions[start:end]]} | more

    def _set_tag(self, body: Body) -> Body:
        tags = self.version(body)["tags"]
        self._refuse_tags(tags | {body["key"]: body.get("value", "")})
        tags[body["key"]] = body.get("value", "")
        return {}

    def _delete_tag(self, body: Body) -> Body:
        self.version(body)["tags"].pop(body["key"], None)
        return {}

    def _shown_model(self, model: Body) -> Body:
        return {"name": model["name"], "tags": _pairs(model["tags"])}

    def _shown(self, version: Body) -> Body:
        return version | {"tags": _pairs(version["tags"])}

    def _listed(self, version: Body) -> Body:
        return self._shown(version)

    def common_routes(self, prefix: str = "") -> dict[str, Route]:
        models, versions = f"{prefix}registered-models", f"{prefix}model-versions"
        return {
            f"POST {models}/create": self._create_model,
            f"GET {models}/get": lambda body: {
                "registered_model": self._shown_model(self.model(body))
            },
            f"DELETE {models}/delete": self._delete_model,
            f"POST {versions}/create": self._create_version,
            f"GET {versions}/get": lambda body: {"model_version": self._shown(self.version(body))},
            f"GET {versions}/search": self._search,
            f"POST {versions}/set-tag": self._set_tag,
            f"DELETE {versions}/delete-tag": self._delete_tag,
        }


class WorkspaceRegistry(_Models):
    """The workspace registry: it copies the files of a run and has no aliases."""

    def __init__(
        self,
        files: dict[str, bytes],
        place_of: Callable[[str], str],
        signed: Callable[[str], str],
    ) -> None:
        super().__init__(files)
        self._place_of, self._signed = place_of, signed
        self.enabled = True

    def _refuse_name(self, name: str) -> None:
        if not self.enabled:
            raise DatabricksError(
                403, "PERMISSION_DENIED", "The Workspace Model Registry is disabled for workspace."
            )
        if not name or any(character in name for character in "./:"):
            raise bad(
                f"Invalid model name: '{name}'. It must be non-empty and cannot contain forward "
                "slashes(/), periods(.), or colons(:)."
            )

    def _refuse_tags(self, tags: dict[str, str]) -> None:
        for key, value in tags.items():
            refuse_tag(key, value, longest=_LONGEST)

    def _store(self, version: Body) -> None:
        source, place = self._place_of(version["source"]), _place("mlflow-registry", version)
        source_files = [name for name in self._files if name.startswith(f"{source}/")]
        if not version["source"].startswith("dbfs:/") or not source_files:
            raise bad(f"The source {version['source']} has no files that this workspace can read.")
        for name in source_files:
            self._files[place + name.removeprefix(source)] = self._files[name]

    def routes(self) -> dict[str, Route]:
        """Return the routes by method and path below /api/2.0/mlflow/."""
        return self.common_routes() | {
            "GET model-versions/get-download-uri": lambda body: {
                "artifact_uri": f"dbfs:{_place('mlflow-registry', self.version(body))}"
            },
            "GET model-versions/list-artifacts": self._list,
            "GET model-versions/get-signed-download-uri": self._download,
        }

    def _list(self, body: Body) -> Body:
        place = _place("mlflow-registry", self.version(body))
        return {"files": list_files(self._files, place, body.get("path"))}

    def _download(self, body: Body) -> Body:
        place = f"{_place('mlflow-registry', self.version(body))}/{body.get('path', '')}"
        found(self._files.get(place), f"{body.get('path')} does not exist.")
        return {"signed_uri": self._signed(place)}


class UnityCatalog(_Models):
    """The Unity Catalog registry: three-level names, aliases, and different rules for tags."""

    def __init__(self, files: dict[str, bytes], *, enabled: bool) -> None:
        super().__init__(files)
        self.enabled = enabled
        self.schemas = {"main.models", "main.closed", "stage.models", "prod.models"}
        self.closed = {"main.closed"}  # schemas without CREATE MODEL
        self.in_data_lake = False  # whether files can only be read with the Azure Storage client

    def _refuse_name(self, name: str) -> None:
        levels = name.split(".")
        if len(levels) != 3 or not all(levels):
            raise bad(
                "Bad model name: please specify all three levels of the model in the form "
                "`catalog_name.schema_name.model_name`"
            )
        if any(character in name for character in " /"):
            raise bad(f"Bad model name: {name} has a space or a slash.")
        if not self.enabled:
            raise DatabricksError(404, "NOT_FOUND", _METASTORE)
        catalog, schema = levels[0], ".".join(levels[:2])
        if not any(known.startswith(f"{catalog}.") for known in self.schemas):
            raise DatabricksError(404, "NOT_FOUND", f"Catalog '{catalog}' does not exist.")
        if schema not in self.schemas:
            raise DatabricksError(404, "NOT_FOUND", f"Schema '{schema}' does not exist.")

    def _refuse_tags(self, tags: dict[str, str]) -> None:
        if len(tags) > _MOST_TAGS:
            raise bad(f"A securable object may have at most {_MOST_TAGS} tags.")
        for key, value in tags.items():
            if any(character in key for character in _RESERVED):
                raise bad(
                    f"Tag name {key} contains one or more of the reserved characters: "
                    "List(., ,, -, =, /, :)"
                )
            if not key or key != key.strip() or len(key) > _LONGEST_NAME:
                raise bad(f"Tag name {key[:40]} is empty, too long, or has spaces around it.")
            if len(value) > _LONGEST_VALUE:
                raise bad(f"Tag {key} has more than {_LONGEST_VALUE} characters.")

    def _create_model(self, body: Body) -> Body:
        self._refuse_name(str(body.get("name", "")))
        schema = str(body["name"]).rpartition(".")[0]
        if schema in self.closed:
            raise DatabricksError(
                403, "PERMISSION_DENIED", f"User does not have CREATE MODEL on Schema '{schema}'."
            )
        return super()._create_model(body)

    def _store(self, version: Body) -> None:
        version["status"] = "PENDING_REGISTRATION"  # until its files are uploaded
        if self.in_data_lake:
            version["storage_location"] = f"{_DATA_LAKE}{_place('uc', version)}"

    def refuse_unknown_path(self, path: str) -> None:
        """Refuse to sign the URL of a file that belongs to no version.

        Raises
        ------
        DatabricksError
            If it belongs to none; the message names the path.
        """
        parts = path.split("/")
        if len(parts) < 7 or parts[1] != "Models":
            raise bad(f"{path} is not a file of a model version.")
        self.version({"name": ".".join(parts[2:5]), "version": parts[5]})

    def _listed(self, version: Body) -> Body:
        return {name: value for name, value in version.items() if name != "tags"}

    def _shown(self, version: Body) -> Body:
        held = self.models[version["name"]]["aliases"] if version["name"] in self.models else {}
        aliases = [{"alias": k} for k, number in held.items() if number == version["version"]]
        return super()._shown(version) | {"aliases": aliases}

    def routes(self) -> dict[str, Route]:
        """Return the routes by method and path below /api/2.0/mlflow/."""
        prefix = "unity-catalog/"
        alias, versions = f"{prefix}registered-models/alias", f"{prefix}model-versions"
        enabled = "is-databricks-sdk-models-artifact-repository-enabled"
        return self.common_routes(prefix) | {
            f"POST {versions}/finalize": self._finalize,
            f"POST {versions}/generate-temporary-credentials": self._credentials,
            f"GET {versions}/get-download-uri": lambda body: {
                "artifact_uri": _place("uc", self.version(body))
            },
            f"GET {prefix}registered-models:{enabled}": lambda _: {
                enabled.replace("-", "_"): False
            },
            f"GET {alias}": self._by_alias,
            f"POST {alias}": self._set_alias,
            f"DELETE {alias}": self._delete_alias,
        }

    def _finalize(self, body: Body) -> Body:
        version = self.models[self.model(body)["name"]]["versions"][str(body["version"])]
        root = f"/Models/{version['name'].replace('.', '/')}/{version['version']}/"
        if not any(name.startswith(root) for name in self._files):
            raise bad(f"No files of version {version['version']} were written.")
        version["status"] = "READY"
        return {"model_version": self._shown(version)}

    def _credentials(self, body: Body) -> Body:
        self.version(body)
        if self.in_data_lake:
            return {"credentials": {"azure_user_delegation_sas": {"sas_token": "sig=none"}}}
        return {"credentials": {"storage_mode": "DEFAULT_STORAGE"}}

    def _by_alias(self, body: Body) -> Body:
        model, alias = self.model(body), body.get("alias")
        if alias not in model["aliases"]:
            raise missing(f"Alias {alias} does not exist for model {model['name']}.")
        number = model["aliases"][alias]
        return {"model_version": self._shown(self.version(body | {"version": number}))}

    def _set_alias(self, body: Body) -> Body:
        version = self.version(body)
        self.model(body)["aliases"][body["alias"]] = version["version"]
        return {}

    def _delete_alias(self, body: Body) -> Body:
        self.model(body)["aliases"].pop(body["alias"], None)
        return {}


def list_files(files: Mapping[str, bytes], root: str, path: str | None) -> list[Body]:
    """List the direct children of a folder below the root, or a single file."""
    place = f"{root}/{path}".rstrip("/") if path else root
    if place in files:
        return [{"path": path, "is_dir": False, "file_size": len(files[place])}]
    below = [name.removeprefix(f"{place}/") for name in files if name.startswith(f"{place}/")]
    folders = sorted({name.split("/")[0] for name in below if "/" in name})
    start = f"{path}/" if path else ""
    return [{"path": start + name, "is_dir": True} for name in folders] + [
        {"path": start + name, "is_dir": False, "file_size": len(files[f"{place}/{name}"])}
        for name in sorted(below)
        if "/" not in name
    ]


def _place(kind: str, version: Body) -> str:
    return f"/databricks/{kind}/{version['name']}/{version['version']}/models/model"


def _pairs(tags: dict[str, str]) -> Iterable[Body]:
    return [{"key": key, "value": value} for key, value in tags.items()]
