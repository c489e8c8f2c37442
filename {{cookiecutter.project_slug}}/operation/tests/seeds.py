"""Secrets as our users have them, made of pieces here so that no file holds one."""

import base64
import random
import string

_LETTERS = string.ascii_letters + string.digits
_ANY = random.Random(5)  # noqa: S311


def some(length: int, characters: str = _LETTERS) -> str:
    """Return the same random characters in every run of the tests, others at every call."""
    return "".join(_ANY.choice(characters) for _ in range(length))


def _part(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


KEY = some(86, _LETTERS + "+/") + "=="
SIGNATURE = f"{some(20)}%2B{some(20)}%3D"
SAS = f"sv=2024-11-04&ss=b&sp=rl&se=2030-01-01T00:00:00Z&spr=https&sig={SIGNATURE}"
PASSWORD = some(20)
JWT = ".".join((_part('{"alg":"RS256","typ":"JWT"}'), _part('{"oid":"1","n":"x"}'), some(43)))
HEX = "0123456789abcdef"

# what it is -> the secret, and a text that holds it
SEEDS = {
    "sas_url": (SIGNATURE, f"cannot read https://a.blob.core.windows.net/c/x.csv?{SAS}: 403"),
    "sas_quoted_twice": (
        SIGNATURE[:20],
        f"redirect=https%3A%2F%2Fa%2Fx%3Fsp%3Dr%26sig%3D{SIGNATURE}",
    ),
    "sas_without_address": (SIGNATURE, f"the token {SAS} has expired"),
    "connection_string": (
        KEY,
        f"DefaultEndpointsProtocol=https;AccountName=acc;AccountKey={KEY};EndpointSuffix=x",
    ),
    "bare_key": (KEY, f"got {KEY} for acc"),
    "service_bus": (
        PASSWORD * 2,
        f"Endpoint=sb://x/;SharedAccessKeyName=Root;SharedAccessKey={PASSWORD * 2}=",
    ),
    "insights": (
        "8c1f6a0e-3b1d-4a77-9d5c-2f0e6b7a1c3d",
        "InstrumentationKey=8c1f6a0e-3b1d-4a77-9d5c-2f0e6b7a1c3d;IngestionEndpoint=https://x/",
    ),
    "password_in_address": (PASSWORD, f"cannot reach http://mlflow:{PASSWORD}@127.0.0.1:5000/api"),
    "password_with_at_sign": (PASSWORD, f"postgresql+psycopg://mlflow:p@{PASSWORD}@db:5432/m"),
    "token_in_address": (PASSWORD * 2, f"fatal: https://{PASSWORD * 2}@host/org/_git/x not found"),
    "bearer": (PASSWORD, f"headers: 'Authorization': 'Bearer {PASSWORD}'"),
    "basic": (PASSWORD, f"Authorization: Basic {PASSWORD}=="),
    "jwt": (JWT, f"the assertion {JWT} is not valid yet"),
    "client_secret": (
        PASSWORD,
        f"AADSTS7000215: Invalid client secret provided: client_secret={PASSWORD}&grant_type=x",
    ),
    "client_secret_by_form": (PASSWORD, f"got Ab18Q~{PASSWORD}{some(14)}"),
    "json": (PASSWORD, f'"username": "x", "password": "{PASSWORD}", "n": 1'),
    "databricks": ("da" + "pi", "got da" + "pi" + some(32, HEX)),
    "github": ("gh" + "p_", "git clone https://" + "gh" + "p_" + some(36) + "@github.com/x/y"),
    "azure_devops": ("AZ" + "DO", "PAT " + some(76) + "AZ" + "DO" + some(4)),
    "private_key": (
        PASSWORD,
        "-----BEGIN " + f"PRIVATE KEY-----\n{PASSWORD}\n-----END " + "PRIVATE KEY-----",
    ),
}
