"""Entra ID: tokens for the one service principal, and variables that direct clients to it."""

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from kedro_azure_mlops.testing.messages import Answer, NotKnownError, Request, ServiceError

TENANT = "11111111-1111-1111-1111-111111111111"
CLIENT = "22222222-2222-2222-2222-222222222222"
PROOF = "of the stand-in, good for nothing else"
SAS = "sv=stand-in&sig=stand-in"
IDENTITY = "/identity/token"  # served at the proxy's own address, without TLS
LIFETIME = 3600  # seconds that clients keep a token
_FOREVER = 4102444800  # the year 2100
_AUDIENCES = {
    "management.azure.com": ("https://management.azure.com", "https://management.core.windows.net"),
    "blob.core.windows.net": ("https://storage.azure.com",),
    "inference.ml.azure.com": ("https://ml.azure.com",),
    "api.azureml.ms": ("https://management.azure.com", "https://ml.azure.com"),
}


def answer(request: Request) -> Answer:
    """Answer discovery and token requests.

    Raises
    ------
    NotKnownError
        For anything else.
    """
    if not request.host and request.path == IDENTITY:
        return _identity_token(request)
    base = f"https://{request.host}/{request.path.split('/')[1]}"
    if request.path.endswith("/discovery/instance"):
        tenant = f"https://{request.host}/{TENANT}/v2.0/.well-known/openid-configuration"
        return Answer(body={"tenant_discovery_endpoint": tenant, "metadata": []})
    if request.path.endswith("/v2.0/.well-known/openid-configuration"):
        return Answer(body=_configuration(base))
    if request.method == "POST" and request.path.endswith("/oauth2/v2.0/token"):
        return _token(request)
    raise NotKnownError(request.url)


def check(request: Request) -> None:
    """Check that a request has a token for its host or, for Blob storage, a SAS.

    Raises
    ------
    ServiceError
        401, if it has neither.
    """
    if ".blob." in request.host and "sig" in request.query:
        return
    service = next(host for host in _AUDIENCES if request.host.endswith(host))
    kind, _, token = request.headers.get("authorization", "").partition(" ")
    if kind != "Bearer" or _audience(token).rstrip("/") not in _AUDIENCES[service]:
        raise ServiceError(401, "The access token is missing or is for another audience.")


def _configuration(base: str) -> dict[str, str]:
    return {
        "token_endpoint": f"{base}/oauth2/v2.0/token",
        "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
        "issuer": f"{base}/v2.0",
        "tenant_region_scope": "EU",
    }


def _token(request: Request) -> Answer:
    form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
    proof = form.get("client_secret") == PROOF or form.get("client_assertion")
    if form.get("grant_type") != "client_credentials":
        raise NotKnownError(f"{request.url} with grant {form.get('grant_type')}")
    if form.get("client_id") != CLIENT or not proof:
        raise ServiceError(401, "AADSTS7000215: Invalid client secret provided.")
    token = _jwt(form["scope"].removesuffix("/.default"), form.get("client_assertion", ""))
    return Answer(body={"access_token": token, "token_type": "Bearer", "expires_in": LIFETIME})


def _identity_token(request: Request) -> Answer:
    if request.headers.get("secret") != PROOF:
        raise ServiceError(401, "The secret of the managed identity is missing.")
    resource = request.query["resource"]
    token = {"access_token": _jwt(resource), "token_type": "Bearer", "resource": resource}
    return Answer(body=token | {"expires_on": _FOREVER})


def claims_of(token: str) -> dict[str, Any]:
    """Read the claims of a token; ``proof`` is the assertion that it was issued for."""
    claims = [*token.split("."), ""][1]
    padded = claims + "=" * (-len(claims) % 4)
    return json.loads(base64.urlsafe_b64decode(padded) or b"{}")


def _jwt(audience: str, proof: str = "") -> str:
    claims = {"aud": audience, "oid": CLIENT, "tid": TENANT, "exp": _FOREVER, "proof": proof}
    return f"{_encoded({'alg': 'none', 'typ': 'JWT'})}.{_encoded(claims)}.unsigned"


def _encoded(part: dict[str, object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


def _audience(token: str) -> str:
    return str(claims_of(token).get("aud", ""))


# The client's polling of a running job; the stand-in delays its answers until something changes.
POLLING = {"AZUREML_RUN_POLLING_INTERVAL_MIN": "0", "AZUREML_RUN_POLLING_INTERVAL_MAX": "1"}


def way(port: int, authority: Path) -> dict[str, str]:
    """Return variables that send HTTPS through the proxy and trust its certificates."""
    proxy, direct = f"http://127.0.0.1:{port}", "127.0.0.1,localhost"
    return {
        "HTTPS_PROXY": proxy,
        "NO_PROXY": direct,
        "https_proxy": proxy,  # lower case takes precedence
        "no_proxy": direct,
        "REQUESTS_CA_BUNDLE": str(authority),
        "SSL_CERT_FILE": str(authority),
        "MLFLOW_DISABLE_TELEMETRY": "true",  # its host is not served here
        "ORT_DISABLE_TELEMETRY": "1",  # nor is that of ONNX Runtime
    }


def principal() -> dict[str, str]:
    """Return variables to sign in as a service principal, as CI does."""
    return {
        "AZURE_TENANT_ID": TENANT,
        "AZURE_CLIENT_ID": CLIENT,
        "AZURE_CLIENT_SECRET": PROOF,
    }


def managed_identity(port: int) -> dict[str, str]:
    """Return variables to sign in as the identity of a cluster, as an Azure ML job does."""
    return {"MSI_ENDPOINT": f"http://127.0.0.1:{port}{IDENTITY}", "MSI_SECRET": PROOF}
