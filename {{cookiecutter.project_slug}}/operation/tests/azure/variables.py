"""The environment variables that lead the clients, of tests and of steps, to the stand-in."""

from pathlib import Path

from operation.tests.azure import login

# The client's loop around a running job; the stand-in itself makes it wait for news.
POLLING = {"AZUREML_RUN_POLLING_INTERVAL_MIN": "0", "AZUREML_RUN_POLLING_INTERVAL_MAX": "1"}


def way(port: int, authority: Path) -> dict[str, str]:
    """Lead HTTPS through the proxy and trust its certificates."""
    proxy, direct = f"http://127.0.0.1:{port}", "127.0.0.1,localhost"
    return {
        "HTTPS_PROXY": proxy,
        "NO_PROXY": direct,
        "https_proxy": proxy,  # which would come first
        "no_proxy": direct,
        "REQUESTS_CA_BUNDLE": str(authority),
        "SSL_CERT_FILE": str(authority),
        "MLFLOW_DISABLE_TELEMETRY": "true",  # it would ask a host that is not known here
        "ORT_DISABLE_TELEMETRY": "1",  # and so would ONNX Runtime
    }


def principal() -> dict[str, str]:
    """Sign in as a service principal, as CI does."""
    return {
        "AZURE_TENANT_ID": login.TENANT,
        "AZURE_CLIENT_ID": login.CLIENT,
        "AZURE_CLIENT_SECRET": login.PROOF,
    }


def managed_identity(port: int) -> dict[str, str]:
    """Sign in as the identity of a cluster, as a job in Azure ML does."""
    return {"MSI_ENDPOINT": f"http://127.0.0.1:{port}{login.IDENTITY}", "MSI_SECRET": login.PROOF}
