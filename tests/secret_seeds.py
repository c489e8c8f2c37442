"""Secrets as our users have them, made of pieces when tests run, so that no file holds one."""

import base64
import random
import string

ANY = random.Random(11)  # noqa: S311
LETTERS = string.ascii_letters + string.digits
BASE64 = LETTERS + "+/"
HEX = "0123456789abcdef"


def some(length: int, characters: str = LETTERS) -> str:
    """Return random characters, the same ones in every run of the tests."""
    return "".join(ANY.choice(characters) for _ in range(length))


def part(text: str) -> str:
    """Return a text as a part of a signed token."""
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


KEY = some(86, BASE64) + "=="
ACCOUNT = "Account" + "Key="
SAS = "sv=2024-11-04&sp=rl&se=2030-01-01T00:00:00Z&sig=" + some(20) + "%2B" + some(20) + "%3D"
TOKEN = ".".join((part('{"alg":"RS256","typ":"JWT"}'), part('{"oid":"1","upn":"x"}'), some(43)))
BASIC = base64.b64encode(f"{some(6)}:{some(14)}".encode()).decode()
BASE32 = string.ascii_lowercase + "234567"

# name of a file -> its text; each has one secret, in line 2
SECRETS = {
    "storage_key.yml": f"account_key: {KEY}",
    "storage_key_bare.yml": f"note: {KEY}",
    "signed_address.yml": f"raw_file: https://a.blob.core.windows.net/c/x.csv?{SAS}",
    "signed_address.md": f"See https://a.blob.core.windows.net/c/x.csv?{SAS}.",
    "signed_address.py": f'ADDRESS = "https://a.blob.core.windows.net/c/x.csv?{SAS}"',
    "connection.env.example": f"CONNECTION=DefaultEndpointsProtocol=https;{ACCOUNT}{KEY};X=y",
    "service_bus.json": '{"c": "Endpoint=sb://x/;SharedAccess' + f'Key={some(43, BASE64)}="}}',
    "client_secret.sh": f"export AZURE_CLIENT_SECRET={some(3)}8Q~{some(34)}",
    "client_secret.bicepparam": f"param note = '{some(3)}8Q~{some(34)}'",
    "client_secret.ipynb": f'{{"source": ["x = 1 # {some(3)}8Q~{some(34)}"]}}',
    "databricks.cfg": "token = da" + f"pi{some(32, HEX)}",
    "databricks.yml": "run: databricks --host x --login da" + f"pi{some(32, HEX)}-2",
    "github.yml": "run: git clone https://gh" + f"p_{some(36)}@github.com/x/y",
    "github_fine_grained.sh": "# github_" + f"pat_{some(22)}_{some(59)}",
    "azure_devops.yml": f"pat: {some(76)}AZ" + f"DO{some(4)}",
    "azure_devops_older.sh": f"AZURE_DEVOPS_EXT_PAT={some(20, BASE32)}2{some(31, BASE32)}",
    "signed_token.md": f"It sends {TOKEN} with it.",
    "private_key.txt": "-----BEGIN " + "RSA PRIVATE KEY-----",
    "password_in_address.yml": f"uri: postgresql://mlflow:{some(14)}@db.example.com/mlflow",
    "password.yml": f"mlflow: {{password: {some(14)}}}",
    "password.toml": f'password = "{some(14)}"',
    "aws.ini": "id = AK" + f"IA{some(16, string.ascii_uppercase)}",
    "aws_secret.ini": f"aws_secret_access_key = {some(40, BASE64)}",
    "basic_auth.yml": f"headers: {{Authorization: Basic {BASIC}}}",
    "bearer.py": f"HEADERS = {{'Authorization': 'Bearer {some(40)}'}}",
}

# what looks like one to a hasty reader
HARMLESS = {
    "role.bicep": "var contributor = 'b24988ac-6180-42a0-ab88-20f7382dd24c'",
    "action.yml": f"uses: actions/checkout@{some(40, HEX)} # v7.0.1",
    "arm.yml": "id: /subscriptions/00000000-1111-2222-3333-444444444444/resourceGroups/rg-x",
    "image.yml": f"image: mcr.microsoft.com/azureml/x@sha256:{some(64, HEX)}",
    "statistics.md": "sig = 0.05 is significant; the signature says sig=small.",
    "address.yml": "uri: https://user@dev.azure.com/org/project/_git/x",
    "container.yml": "raw_file: abfs://container@account.dfs.core.windows.net/x.csv",
    "variables.sh": 'export AZURE_CLIENT_SECRET="$SECRET" MLFLOW_TRACKING_PASSWORD="${WORD}"',
    "header.py": "headers = {'Authorization': f'Bearer {token}'}",
    "prose.md": "A connection string has its AccountKey in it; a bearer of it may read.",
    "marked.yml": f"note: {KEY} # pragma: allowlist secret",
}
