"""A stand-in for a Databricks workspace on loopback: tracking, both registries, files, folders.

The unchanged MLflow client reaches it through ``DATABRICKS_HOST`` and ``DATABRICKS_TOKEN``. It is a
test double: it keeps everything in memory and enforces the rules that Databricks documents (its
REST reference, the docstrings of ``databricks-sdk``, "Apply tags to Unity Catalog securable
objects"). It rejects unsupported requests by name and lists them in ``refused``.
"""

import re
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import quote

from kedro_azure_mlops.testing.databricks_models import UnityCatalog, WorkspaceRegistry, list_files
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
from kedro_azure_mlops.testing.messages import Answer, Request

TOKEN = "dapi-of-the-stand-in"  # noqa: S105, not a real token
USER = "me@example.com"
_SIGNED = "signature=of-the-stand-in"
_MLFLOW = "/api/2.0/mlflow/"
_FILES, _FOLDERS = "/api/2.0/fs/files", "/api/2.0/fs/directories"
_RUN_FILES = re.compile(r"/WorkspaceInternal/Mlflow/Artifacts/([^/]+)/Runs/([^/]+)(/.*)?")
_LONGEST_IN_BATCH, _LONGEST_PARAMETER, _LONGEST_TAG = 250, 500, 64 * 1024
_PER_BATCH = {"metrics": 1000, "params": 100, "tags": 100}
_BATCH_BYTES, _BATCH_TOTAL = 1024 * 1024, 1000


class Databricks:
    """One workspace.

    Parameters
    ----------
    unity_catalog
        Whether it has a metastore; its catalog is ``main``, with the schema ``models``.
    files_api
        Whether the files of runs are served by the Files API, which MLflow tries first; otherwise
        only by signed URLs.
    """

    def __init__(self, *, unity_catalog: bool = True, files_api: bool = True) -> None:
        self.files: dict[str, bytes] = {}
        self.folders = {"/", "/Shared", "/Users", f"/Users/{USER}", "/Users/other@example.com"}
        self.read_only = {"/", "/Users", "/Users/other@example.com"}
        self.experiments: dict[str, Body] = {}
        self.runs: dict[str, Body] = {}
        self.refused: list[str] = []
        self.requests: list[str] = []
        self.files_api = files_api
        self.workspace_registry = WorkspaceRegistry(self.files, self.place_of, self._signed)
        self.unity_catalog = UnityCatalog(self.files, enabled=unity_catalog)
        self.uri = ""
        self._lock = threading.RLock()
        self._routes = self._named_routes()

    def lead(self, environment: Any) -> None:
        """Direct the clients of this process to this workspace, with a ``pytest.MonkeyPatch``."""
        environment.setenv("DATABRICKS_HOST", self.uri)
        environment.setenv("DATABRICKS_TOKEN", TOKEN)
        environment.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

    def answer(self, request: Request) -> Answer:
        """Answer one request as Databricks would."""
        self.requests.append(f"{request.method} {request.path}")
        with self._lock:
            try:
                if request.path.startswith("/storage/"):
                    return self._storage(request)
                if request.path == "/.well-known/databricks-config":  # sent without a token
                    return Answer(200, {"oidc_endpoint": f"{self.uri}/oidc"})
                _check(request)
                return self._api(request)
            except DatabricksError as error:
                body = {"error_code": error.code, "message": str(error)}
                return Answer(error.status, body)

    def place_of(self, source: str) -> str:
        """Return the path of the files of a run or model version, given their URI."""
        return "/" + source.removeprefix("dbfs:").strip("/")

    def _api(self, request: Request) -> Answer:
        for prefix, serve in ((_FILES, self._file), (_FOLDERS, self._folder)):
            if request.path.startswith(f"{prefix}/"):
                return serve(request, request.path.removeprefix(prefix).rstrip("/"))
        route = self._routes.get((request.method, request.path))
        if route is None:
            self.refused.append(f"{request.method} {request.path}")
            raise DatabricksError(
                404,
                "ENDPOINT_NOT_FOUND",
                f"The stand-in for Databricks does not support {request.method} {request.path}.",
            )
        body = request.json() if request.body else dict(request.query)
        if len(request.body) > _BATCH_BYTES:
            raise bad("A request may have at most 1 MB.")
        # Links a Unity Catalog version to its run.
        return Answer(200, route(body), {"x-databricks-org-id": "1234567890123456"})

    def _named_routes(self) -> Mapping[tuple[str, str], Route]:
        tracking: dict[str, Route] = {
            "POST experiments/create": self._create_experiment,
            "GET experiments/get-by-name": self._experiment_by_name,
            "GET experiments/get": self._experiment,
            "POST experiments/search": lambda _: {"experiments": list(self.experiments.values())},
            "POST experiments/delete": lambda body: self._set_stage(body, "deleted"),
            "POST experiments/restore": lambda body: self._set_stage(body, "active"),
            "POST runs/create": self._create_run,
            "GET runs/get": lambda body: {"run": self._run(body)},
            "POST runs/update": self._update_run,
            "POST runs/search": self._search_runs,
            "POST runs/log-batch": self._log_batch,
            "POST runs/set-tag": self._set_tag,
            "POST runs/log-parameter": self._log_parameter,
            "POST runs/log-inputs": self._log_inputs,
            "GET artifacts/list": self._list_of_run,
            "POST artifacts/credentials-for-read": self._credentials,
            "POST artifacts/credentials-for-write": self._credentials,
        }
        routes = tracking | self.workspace_registry.routes() | self.unity_catalog.routes()
        named = {(name.split()[0], _MLFLOW + name.split()[1]): to for name, to in routes.items()}
        elsewhere: dict[tuple[str, str], Route] = {
            ("POST", "/api/2.0/workspace/mkdirs"): self._make_folder,
            ("POST", "/api/2.0/fs/create-upload-url"): self._create_signed_url,
            ("POST", "/api/2.0/fs/create-download-url"): self._create_signed_url,
        }
        return named | elsewhere

    # the folder tree, which contains the experiments

    def _make_folder(self, body: Body) -> Body:
        path = str(body.get("path", ""))
        if not path.startswith("/"):
            raise bad(f"Path ({path}) doesn't start with '/'")
        parts = path.strip("/").split("/")
        for depth in range(1, len(parts) + 1):
            folder = "/" + "/".join(parts[:depth])
            if folder in self.folders:
                continue
            if self._by_name(folder):
                raise DatabricksError(400, "RESOURCE_ALREADY_EXISTS", f"{folder} is not a folder.")
            self._refuse_read_only(folder)
            self.folders.add(folder)
        return {}

    def _refuse_read_only(self, path: str) -> None:
        parent = path.rpartition("/")[0] or "/"
        if parent in self.read_only:
            raise DatabricksError(
                403,
                "PERMISSION_DENIED",
                f"{USER} does not have Edit permissions on {parent}. Please contact the owner.",
            )

    def _create_experiment(self, body: Body) -> Body:
        name = str(body.get("name", ""))
        if not name.startswith("/"):
            raise bad(
                f"Got an invalid experiment name '{name}'. An experiment name must be an absolute "
                "path within the Databricks workspace, e.g. '/Users/<some-username>/my-experiment'."
            )
        name = "/" + name.removeprefix("/Workspace").strip("/")
        parent = name.rpartition("/")[0] or "/"
        if parent not in self.folders:
            raise missing(f"Parent directory {parent} does not exist.")
        if name in self.folders or self._by_name(name):
            raise DatabricksError(
                400, "RESOURCE_ALREADY_EXISTS", f"Node named '{name}' already exists"
            )
        self._refuse_read_only(name)
        if len(body.get("tags", [])) > 20:
            raise bad("An experiment may be created with at most 20 tags.")
        id = str(2_000_000_000 + len(self.experiments))
        place = body.get("artifact_location") or f"dbfs:/databricks/mlflow-tracking/{id}"
        self.experiments[id] = {
            "experiment_id": id,
            "name": name,
            "artifact_location": place,
            "lifecycle_stage": "active",
        }
        return {"experiment_id": id}

    def _by_name(self, name: str) -> Body | None:
        return next((e for e in self.experiments.values() if e["name"] == name), None)

    def _experiment_by_name(self, body: Body) -> Body:
        name = str(body.get("experiment_name", ""))
        # An experiment created in /Workspace is not found by that name (mlflow issue 11077).
        return {"experiment": found(self._by_name(name), f"Node {name} does not exist.")}

    def _experiment(self, body: Body) -> Body:
        id = str(body.get("experiment_id"))
        return {"experiment": found(self.experiments.get(id), f"Node ID {id} does not exist.")}

    def _set_stage(self, body: Body, stage: str) -> Body:
        self._experiment(body)["experiment"]["lifecycle_stage"] = stage
        return {}

    # runs

    def _create_run(self, body: Body) -> Body:
        experiment = self._experiment(body)["experiment"]
        for tag in body.get("tags", []):
            refuse_tag(tag["key"], tag["value"], longest=_LONGEST_TAG)
        id = uuid.uuid4().hex
        info = {
            "run_id": id,
            "run_uuid": id,
            "run_name": body.get("run_name", "a run"),
            "experiment_id": experiment["experiment_id"],
            "status": "RUNNING",
            "start_time": body.get("start_time", 0),
            "lifecycle_stage": "active",
            "artifact_uri": f"{experiment['artifact_location']}/{id}/artifacts",
        }
        data: dict[str, dict[str, Any]] = {"tags": as_tags(body), "params": {}, "metrics": {}}
        self.runs[id] = {"info": info, "data": data, "inputs": []}
        return {"run": self._shown(self.runs[id])}

    def _stored_run(self, body: Body) -> Body:
        id = str(body.get("run_id") or body.get("run_uuid"))
        return dict(found(self.runs.get(id), f"Run '{id}' not found."))

    def _run(self, body: Body) -> Body:
        return self._shown(self._stored_run(body))

    @staticmethod
    def _shown(run: Body) -> Body:
        kept = run["data"]
        named = ("tags", "params")
        data = {kind: [{"key": k, "value": v} for k, v in kept[kind].items()] for kind in named}
        return {
            "info": run["info"],
            "data": data | {"metrics": list(kept["metrics"].values())},
            "inputs": {"dataset_inputs": run["inputs"]},
        }

    def _update_run(self, body: Body) -> Body:
        info = self._stored_run(body)["info"]
        info |= {k: body[k] for k in ("status", "end_time", "run_name") if k in body}
        return {"run_info": info}

    def _search_runs(self, body: Body) -> Body:
        wanted = body.get("filter") or ""
        status = re.fullmatch(r"attributes\.status = '(\w+)'", wanted)
        if wanted and not status:
            self.refused.append(f"runs/search with the filter {wanted}")
            raise bad(f"The stand-in for Databricks does not support the filter {wanted}")
        runs = [
            self._shown(run)
            for run in self.runs.values()
            if run["info"]["experiment_id"] in body.get("experiment_ids", [])
            and (not status or run["info"]["status"] == status[1])
        ]
        return {"runs": runs[::-1]}

    def _log_batch(self, body: Body) -> Body:
        sizes = {kind: len(body.get(kind, [])) for kind in _PER_BATCH}
        if sum(sizes.values()) > _BATCH_TOTAL or any(sizes[k] > n for k, n in _PER_BATCH.items()):
            raise bad(f"A batch may have 1000 items, 1000 metrics, 100 params, 100 tags: {sizes}")
        data = self._stored_run(body)["data"]
        for one in [*body.get("params", []), *body.get("tags", [])]:
            if len(one.get("value", "")) > _LONGEST_IN_BATCH:
                raise bad(f"The value of {one['key']} in a batch may have at most 250 characters.")
        for one in (one for kind in _PER_BATCH for one in body.get(kind, [])):
            if len(one["key"]) > _LONGEST_IN_BATCH:
                raise bad(f"A key in a batch may have at most 250 characters: {one['key'][:40]}...")
        for param in body.get("params", []):
            self._keep_parameter(data, param)
        data["tags"] |= as_tags(body)
        data["metrics"] |= {metric["key"]: metric for metric in body.get("metrics", [])}
        return {}

    @staticmethod
    def _keep_parameter(data: Body, param: Body) -> None:
        key, value = param["key"], param.get("value", "")
        if data["params"].setdefault(key, value) != value:
            raise bad(f"Changing param values is not allowed: {key}")

    def _set_tag(self, body: Body) -> Body:
        refuse_tag(body["key"], body.get("value", ""), longest=_LONGEST_TAG)
        self._stored_run(body)["data"]["tags"][body["key"]] = body.get("value", "")
        return {}

    def _log_parameter(self, body: Body) -> Body:
        if len(body.get("value", "").encode()) > _LONGEST_PARAMETER:
            raise bad(f"The value of the parameter {body['key']} may have at most 500 bytes.")
        self._keep_parameter(self._stored_run(body)["data"], body)
        return {}

    def _log_inputs(self, body: Body) -> Body:
        self._stored_run(body)["inputs"].extend(body.get("datasets", []))
        return {}

    # files

    def _list_of_run(self, body: Body) -> Body:
        uri = self._stored_run(body)["info"]["artifact_uri"]
        return {
            "root_uri": uri,
            "files": list_files(self.files, self.place_of(uri), body.get("path")),
        }

    def _credentials(self, body: Body) -> Body:
        root = self.place_of(self._stored_run(body)["info"]["artifact_uri"])
        infos = [
            {
                "run_id": body["run_id"],
                "path": path,
                "signed_uri": self._signed(f"{root}/{path}"),
                "type": "AZURE_ADLS_GEN2_SAS_URI",
            }
            for path in body.get("path", [])
        ]
        return {"credential_infos": infos}

    def _create_signed_url(self, body: Body) -> Body:
        self.unity_catalog.refuse_unknown_path(str(body["path"]))
        return {"url": self._signed(str(body["path"])), "headers": []}

    def _signed(self, place: str) -> str:
        return f"{self.uri}/storage{quote(place)}?{_SIGNED}"

    def _storage(self, request: Request) -> Answer:
        """Answer as the storage account behind a signed URL, which rejects a token."""
        place = request.path.removeprefix("/storage")
        if request.query.get("signature") is None or "authorization" in request.headers:
            raise DatabricksError(403, "AuthenticationFailed", "The signature is missing.")
        if request.method == "GET":
            return Answer(200, found(self.files.get(place), f"{place} does not exist."))
        if request.query.get("resource") == "file":  # Azure Data Lake: create first, then append
            self.files[place] = b""
        elif request.query.get("action") == "append":
            self.files[place] += request.body
        elif request.query.get("action") != "flush":
            self.files[place] = request.body
        return Answer(201)

    def _stored_path(self, path: str) -> str:
        match = _RUN_FILES.fullmatch(path)
        if not self.files_api:
            raise DatabricksError(403, "PERMISSION_DENIED", "The Files API is not enabled.")
        if match is None or match[2] not in self.runs:
            raise DatabricksError(404, "NOT_FOUND", f"{path} is not found.")
        return f"/databricks/mlflow-tracking/{match[1]}/{match[2]}{match[3] or ''}"

    def _file(self, request: Request, path: str) -> Answer:
        place = self._stored_path(path)
        if request.method == "PUT":
            self.files[place] = request.body
            return Answer(204)
        content = found(self.files.get(place), f"{path} does not exist.")
        return Answer(200, content, {"Last-Modified": "Sat, 21 Nov 2026 00:00:00 GMT"})

    def _folder(self, request: Request, path: str) -> Answer:
        root = path if path.startswith("/Models/") else self._stored_path(path)
        files = list_files(self.files, root, None)
        if not files:
            raise DatabricksError(404, "NOT_FOUND", f"{path} does not exist.")
        contents = [
            {
                "path": f"{path}/{one['path']}",
                "name": one["path"],
                "is_directory": one["is_dir"],
                "file_size": one.get("file_size", 0),
            }
            for one in files
        ]
        return Answer(200, {"contents": contents} if request.method == "GET" else b"")


def _check(request: Request) -> None:
    given = request.headers.get("authorization")
    if given is None:
        raise DatabricksError(
            401,
            "401",
            "Credential was not sent or was of an unsupported type for this API.",
        )
    if given != f"Bearer {TOKEN}":
        raise DatabricksError(403, "403", "Invalid access token.")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "_Server"

    def _serve(self) -> None:
        request = Request.parse(self.command, "databricks", self.path, dict(self.headers.items()))
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            request.body = b"".join(self._chunks())
        else:
            request.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        answer = self.server.databricks.answer(request)
        content = answer.content()
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.status != 204:
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD" and answer.status != 204:
            self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = _serve  # noqa: N815

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def log_message(self, *_: object) -> None:
        """Write no log: requests are recorded in a list."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    databricks: Databricks


@contextmanager
def serving(databricks: Databricks) -> Iterator[Databricks]:
    """Serve a workspace on a free port of loopback."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.databricks, databricks.uri = databricks, f"http://127.0.0.1:{server.server_port}"
    # Poll often: with the default of half a second, every test would take that much longer.
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield databricks
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
