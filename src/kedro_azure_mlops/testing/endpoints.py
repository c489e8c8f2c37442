"""Online and batch endpoints: deployments, traffic, keys, logs and scoring addresses.

As in the service, traffic must sum to 0 or 100 and go to existing deployments, and a deployment
with traffic cannot be deleted. If a model answers with a status other than 200, the endpoint
answers 424 and reports that status in a header; an endpoint on a Kubernetes cluster has an address
of the cluster, which passes the status on. ``kubernetes`` implements the other differences.
"""

import re
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kedro_azure_mlops.testing import collector, kubernetes, login
from kedro_azure_mlops.testing.messages import Answer, NotKnownError, Request, ServiceError
from kedro_azure_mlops.testing.resources import Body, Resources
from kedro_azure_mlops.testing.served import Served
from kedro_azure_mlops.testing.storage import Places

HOST = "westeurope.inference.ml.azure.com"
KEY, TOKEN = "key of the stand-in", "token of the stand-in"
MOST_MIRRORED = 50
_PATH = re.compile(
    r"/(?:online|batch)Endpoints(?P<endpoint>/[^/]+)?"
    r"(?P<inside>/deployments(?P<deployment>/[^/]+)?)?(?P<action>/(listKeys|token|getLogs))?$",
    re.IGNORECASE,
)
_METRICS = r"/onlineEndpoints/[^/]+/providers/Microsoft\.Insights/metrics$"
_LATENCY = 7.0  # milliseconds, reported for every request
_MODEL_STATUS = "ms-azureml-model-error-statuscode"
_TYPES = {"UriFile": "uri_file", "UriFolder": "uri_folder"}
_DEPLOYMENT = "azureml-model-deployment"
# the properties of an online deployment
_DEPLOYMENT_PROPERTIES = {
    *("appInsightsEnabled", "codeConfiguration", "dataCollector", "description"),
    *("endpointComputeType", "environmentId", "environmentVariables", "instanceType"),
    *("livenessProbe", "model", "properties", "provisioningState", "readinessProbe"),
    *("requestSettings", "scaleSettings"),
}

# deployment name, true answer -> the answer to send instead
Spoil = Callable[[str, Answer], Answer]


class Endpoints:
    """Stores endpoints and deployments among the other resources, and runs the deployments.

    Attributes
    ----------
    served
        Name of an online deployment -> its process.
    collected
        Name of an online deployment -> its data collector, if it has one.
    counted
        Deployment and status of each answer.
    mirrored
        Names of the deployments that were sent a copy of a request, in order.
    creation_fails
        Whether new deployments end as ``Failed``, as when a container does not start.
    spoil
        A function that may replace an answer, given the deployment's name and the answer.
    without_tls
        Whether clusters give new endpoints an ``http`` address.
    """

    def __init__(self, resources: Resources, places: Places, folder: Path) -> None:
        self.served: dict[str, Served] = {}
        self.collected: dict[str, collector.Collected] = {}
        self.counted: list[tuple[str, int]] = []
        self.mirrored: list[str] = []
        self.creation_fails = False
        self.spoil: Spoil | None = None
        self.without_tls = False
        self._resources, self._places, self._folder = resources, places, folder
        self._request_count = 0
        resources.routes[:0] = [("GET", _METRICS, self._metrics)]
        resources.routes[:0] = [
            (method, _PATH.pattern, self._manage)
            for method in ("GET", "PUT", "PATCH", "DELETE", "POST")
        ]

    def stop(self) -> None:
        """Stop the processes."""
        for served in self.served.values():
            served.stop()

    def answer(self, request: Request) -> Answer:
        """Answer a request to an endpoint: ``/score`` for online, ``/jobs`` for batch.

        On a Kubernetes cluster the path names the endpoint.

        Raises
        ------
        ServiceError
            If the endpoint or its deployment does not exist, or access is denied.
        NotKnownError
            For any other route.
        """
        name, path = kubernetes.endpoint_of(request) or (request.host.split(".")[0], request.path)
        kind = {"/score": "onlineEndpoints", "/jobs": "batchEndpoints"}.get(path)
        if kind is None or request.method != "POST":
            raise NotKnownError(request.url)
        endpoint = self._named(kind, name)
        self._check(request, endpoint)
        if kind == "batchEndpoints":
            return self._start_job(request, endpoint)
        return self._score(request, endpoint)

    def _named(self, kind: str, name: str) -> Body:
        for id, body in list(self._resources.all.items()):
            if id.endswith(f"/{kind}/{name}"):
                return body
        raise ServiceError(404, f"There is no endpoint {name}.")

    def _check(self, request: Request, endpoint: Body) -> None:
        mode = endpoint["properties"]["authMode"].lower()
        if mode == "aadtoken":
            login.check(request)
        elif request.headers.get("authorization") != f"Bearer {KEY if mode == 'key' else TOKEN}":
            raise ServiceError(401, "The key or token does not belong to the endpoint.")

    def _score(self, request: Request, endpoint: Body) -> Answer:
        name = request.headers.get(_DEPLOYMENT) or self._choose_deployment(endpoint)
        if name not in self.served or not self._deployment(endpoint, name):
            raise ServiceError(404, f"The endpoint has no running deployment {name}.")
        self._mirror(request, endpoint)
        answer = self._call_deployment(name, request)
        self.counted.append((name, answer.status))
        if answer.status != 200 and not endpoint["properties"].get("compute"):
            answer.headers[_MODEL_STATUS] = str(answer.status)
            answer.status = 424
        answer.headers[_DEPLOYMENT] = name
        return answer

    def _metrics(self, request: Request) -> Answer:
        """Answer as Azure Monitor, with a series for each deployment and status."""
        endpoint = request.path.split("/providers/Microsoft.Insights")[0]
        if self._resources.get(endpoint)["properties"].get("compute"):
            raise NotKnownError(f"{request.url}: Azure has no metrics for it")
        name, aggregation = request.query["metricnames"], request.query["aggregation"].lower()
        series: dict[tuple[str, ...], float] = {}
        for deployment, status in self.counted:
            if name == "RequestsPerMinute":
                key = (deployment, str(status))
                series[key] = series.get(key, 0.0) + 1
            else:
                series[deployment,] = _LATENCY
        dimensions = ("deployment", "modelStatusCode")
        found = [
            {
                "metadatavalues": [
                    {"name": {"value": dimension}, "value": value}
                    for dimension, value in zip(dimensions, labels, strict=False)
                ],
                "data": [{"timeStamp": "2026-11-21T00:00:00Z", aggregation: number}, {}],
            }
            for labels, number in series.items()
        ]
        return Answer(body={"value": [{"name": {"value": name}, "timeseries": found}]})

    def _choose_deployment(self, endpoint: Body) -> str:
        """Choose a deployment by traffic, always the same one for the n-th request."""
        self._request_count += 1
        point, total = self._request_count * 37 % 100, 0
        for name, share in endpoint["properties"]["traffic"].items():
            total += share
            if point < total:
                return name
        raise ServiceError(404, "No deployment of the endpoint has traffic.")

    def _mirror(self, request: Request, endpoint: Body) -> None:
        for name, share in endpoint["properties"]["mirrorTraffic"].items():
            if self._request_count * 61 % 100 < share and _DEPLOYMENT not in request.headers:
                self.mirrored.append(name)
                self._call_deployment(name, request)

    def _call_deployment(self, name: str, request: Request) -> Answer:
        """Call a deployment; its data collector, if any, stores the request and the answer."""
        answer = self.served[name].score(request.body)
        answer = self.spoil(name, answer) if self.spoil else answer
        if name in self.collected:
            bodies = {"request": request.body, "response": answer.content()}
            self.collected[name].keep(bodies, str(uuid.uuid4()))
        return answer

    def _start_job(self, request: Request, endpoint: Body) -> Answer:
        """Start the deployed pipeline with the inputs that the request names."""
        job = request.json()["properties"]
        default = (endpoint["properties"].get("defaults") or {}).get("deploymentName")
        name = request.headers.get(_DEPLOYMENT) or default
        deployment = name and self._deployment(endpoint, name)
        if not deployment:
            raise ServiceError(404, f"The endpoint has no deployment {name or 'by default'}.")
        workspace = endpoint["id"].split("/batchEndpoints/")[0]
        config = deployment["properties"]["deploymentConfiguration"]
        spec = self._resources.get(config["componentId"]["assetId"])["properties"]["componentSpec"]
        missing = set(spec.get("inputs") or {}) - set(job.get("inputData") or {})
        if missing:
            raise ServiceError(400, f"The inputs {', '.join(sorted(missing))} are missing.")
        compute = str(config["settings"]["default_compute"]).removeprefix("azureml:")
        properties = {
            "jobType": "Pipeline",
            "experimentName": endpoint["name"],
            "displayName": name,
            # A job spells its types differently from the request that starts it.
            "inputs": {
                port: value | {"jobInputType": _TYPES[value["jobInputType"]]}
                for port, value in job["inputData"].items()
            },
            "outputs": {
                port: {"jobOutputType": output["type"]}
                for port, output in (spec.get("outputs") or {}).items()
            },
            "jobs": spec["jobs"],
            "settings": {"default_compute": f"{workspace}/computes/{compute}"},
        }
        id = f"{workspace}/jobs/batchjob-{uuid.uuid4()}"
        return Answer(201, self._resources.put(id, {"properties": properties}))

    def _deployment(self, endpoint: Body, name: str) -> Body | None:
        return self._resources.all.get(f"{endpoint['id']}/deployments/{name}")

    def _manage(self, request: Request) -> Answer:
        """Answer as Resource Manager."""
        match = _PATH.search(request.path)
        part = match.groupdict() if match else {}
        if request.method == "POST" and part["action"]:
            return self._answer_action(request, part["action"])
        if request.method == "GET":
            is_one = part["deployment"] or (part["endpoint"] and not part["inside"])
            found = self._resources.get if is_one else self._listed
            return Answer(body=found(request.path))
        handlers: dict[tuple[str, bool], Callable[[Request], Answer]] = {
            ("PUT", True): self._put_deployment,
            ("PUT", False): self._put_endpoint,
            ("DELETE", True): self._delete_deployment,
            ("DELETE", False): self._delete_endpoint,
        }
        handler = handlers.get((request.method, bool(part["deployment"])))
        if handler is None:
            raise NotKnownError(request.url)
        return handler(request)

    def _listed(self, id: str) -> Body:
        return {"value": self._resources.below(id)}

    def _answer_action(self, request: Request, action: str) -> Answer:
        id = request.path.rsplit("/", 1)[0]
        self._resources.get(id)
        if action.lower() == "/listkeys":
            return Answer(body={"primaryKey": KEY, "secondaryKey": KEY})
        if action.lower() == "/token":
            return Answer(body={"accessToken": TOKEN, "tokenType": "Bearer"})
        return Answer(body={"content": self.served[id.rsplit("/", 1)[1]].log()})

    def _put_endpoint(self, request: Request) -> Answer:
        body, old = request.json(), self._resources.all.get(request.path)
        properties, name = body["properties"], request.path.rsplit("/", 1)[1]
        is_online = "/onlineEndpoints/" in request.path
        address = f"https://{name}.{HOST}/{'score' if is_online else 'jobs'}"
        if is_online:
            properties["traffic"] = properties.get("traffic") or {}
            properties["mirrorTraffic"] = properties.get("mirrorTraffic") or {}
            self._check_traffic(request.path, properties)
            kubernetes.check_endpoint(self._resources, properties, old)
            if properties.get("compute"):
                scheme = "http" if self.without_tls else "https"
                address = kubernetes.address(scheme, properties["compute"], name)
        properties |= {
            "scoringUri": address,
            "provisioningState": "Succeeded",
            "properties": properties.get("properties") or {},
        }
        return Answer(200 if old else 201, self._resources.put(request.path, body))

    def _check_traffic(self, id: str, properties: Body) -> None:
        traffic, mirror = properties["traffic"], properties["mirrorTraffic"]
        existing = {body["name"] for body in self._resources.below(f"{id}/deployments")}
        unknown = (set(traffic) | set(mirror)) - existing
        if unknown:
            raise ServiceError(400, f"There is no deployment {', '.join(sorted(unknown))}.")
        if sum(traffic.values()) not in {0, 100}:
            raise ServiceError(400, f"Traffic sums to {sum(traffic.values())}, not to 0 or 100.")
        if len(mirror) > 1 or sum(mirror.values()) > MOST_MIRRORED:
            raise ServiceError(400, "Traffic is mirrored to one deployment, at most 50 percent.")
        if any(traffic.get(name) for name in mirror):
            raise ServiceError(400, "A deployment with traffic cannot be mirrored to.")

    def _put_deployment(self, request: Request) -> Answer:
        id, body = request.path, request.json()
        endpoint, _, name = id.partition("/deployments/")
        self._resources.get(endpoint)
        properties = body["properties"]
        properties |= {"provisioningState": "Succeeded"}
        if "/onlineEndpoints/" in id:
            more = kubernetes.check_deployment(self._resources, endpoint, properties)
            if unknown := set(properties) - _DEPLOYMENT_PROPERTIES - more:
                raise NotKnownError(f"a deployment with {', '.join(sorted(unknown))}")
            self._collect(id, name, properties.get("dataCollector"))
            scale = properties.get("scaleSettings") or {"scaleType": "Default"}
            properties["scaleSettings"] = scale
            self._serve(endpoint.split("/onlineEndpoints/")[0], name, properties)
        if self.creation_fails:
            properties["provisioningState"] = "Failed"
        return Answer(201, self._resources.put(id, body))

    def _collect(self, id: str, name: str, wanted: Body | None) -> None:
        self.collected.pop(name, None)
        if wanted is not None:
            collector.check(wanted)
            self.collected[name] = collector.Collected(self._places, id, wanted)

    def _serve(self, workspace: str, name: str, properties: Body) -> None:
        """Start the uploaded code with the uploaded model."""
        if name in self.served:
            self.served.pop(name).stop()
        folder = self._folder / f"{name}-{uuid.uuid4()}"
        environment = self._resources.get(properties["environmentId"])["properties"]
        if not (environment.get("build") or environment.get("image")):
            raise ServiceError(400, "The environment has no image.")
        code = properties["codeConfiguration"]
        self._places.fetch(workspace, code["codeId"], folder / "code")
        if not (folder / "code" / code["scoringScript"]).is_file():
            raise ServiceError(400, f"The code has no {code['scoringScript']}.")
        # The service keeps the name of the registered folder.
        self._places.fetch(workspace, properties["model"], folder / "models/served/1/model")
        served = Served(folder, dict(properties.get("environmentVariables") or {}))
        self.served[name] = served
        if not served.is_ready:
            properties["provisioningState"] = "Failed"

    def _delete_deployment(self, request: Request) -> Answer:
        endpoint, _, name = request.path.partition("/deployments/")
        parent: dict[str, Any] = self._resources.get(endpoint)["properties"]
        if (parent.get("traffic") or {}).get(name) or (parent.get("mirrorTraffic") or {}).get(name):
            raise ServiceError(400, f"The deployment {name} has traffic: set that to 0 first.")
        if (parent.get("defaults") or {}).get("deploymentName") == name:
            raise ServiceError(400, f"The deployment {name} is the default one.")
        if name in self.served:
            self.served.pop(name).stop()
        deleted = self._resources.all.pop(request.path, None)
        return Answer(200 if deleted else 204)

    def _delete_endpoint(self, request: Request) -> Answer:
        for id in [id for id in self._resources.all if id.startswith(f"{request.path}/")]:
            name = id.rsplit("/", 1)[1]
            if name in self.served:
                self.served.pop(name).stop()
            del self._resources.all[id]
        deleted = self._resources.all.pop(request.path, None)
        return Answer(200 if deleted else 204)
