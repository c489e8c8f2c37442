"""Realistic secrets, assembled when the tests run so that no file contains one."""

import base64
import random
import string

RANDOM = random.Random(11)  # noqa: S311
LETTERS = string.ascii_letters + string.digits
BASE64 = LETTERS + "+/"
HEX = "0123456789abcdef"


def some(length: int, characters: str = LETTERS) -> str:
    """Return random characters, identical in every test run."""
    return "".join(RANDOM.choice(characters) for _ in range(length))


def token_part(text: str) -> str:
    """Encode text as one part of a signed token (JWT)."""
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


KEY = some(86, BASE64) + "=="
ACCOUNT = "Account" + "Key="
SAS = "sv=2024-11-04&sp=rl&se=2030-01-01T00:00:00Z&sig=" + some(20) + "%2B" + some(20) + "%3D"
SIG = some(40) + "%3D"
TOKEN = ".".join(
    (token_part('{"alg":"RS256","typ":"JWT"}'), token_part('{"oid":"1","upn":"x"}'), some(43))
)
BASIC = base64.b64encode(f"{some(6)}:{some(14)}".encode()).decode()
BASE32 = string.ascii_lowercase + "234567"

# file name -> text; each has one secret, in line 2 of the file
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
    "key_of_a_command.yml": f"run: az storage blob list --account-key {KEY}",
    "key_of_a_command.sh": f"az storage blob list --output table --account-key={KEY}",
    "key_bare.sh": f"call it {KEY}",
    "key_in_a_comment.yml": f"a: 1 # {KEY}",
    "variable.yml": f"variables: [{{name: clientSecret, value: {some(14)}7a}}]",
    "password_of_a_command.sh": f'az login --service-principal --password "{some(18)}7a"',
    "password_of_a_command.yml": f"run: mysql --host x --password='{some(18)}7a'",
    "token.Dockerfile": f"ENV FEED_TOKEN {some(30)}7a",
    "token_of_a_shell.sh": f"export FEED_TOKEN={some(30)}7a",
    "function.md": f"Call https://f.azurewebsites.net/api/x?code={some(53, BASE64)}7==.",
    "function.json": f'{{"u": "https://f.azurewebsites.net/api/x?a=b\\u0026code={some(53)}7=="}}',
    "signed_address.json": f'{{"u": "https://a.blob.core.windows.net/x?sv=2024\\u0026sig={SIG}"}}',
    "encrypted_key.pem.txt": "-----BEGIN " + "ENCRYPTED PRIVATE" + " KEY-----",
    "swagger.json": f'{{"password": "{some(14)}7a"}}',
    "lock.txt": f"--index-url https://me:{some(14)}@host.example.com/simple",
    "digest_elsewhere.yml": f"api_key: {some(32, HEX)}",
    "secret_of_words.yml": "password: database-password",
    "secret_of_other_words.yml": "secret: correct-horse-battery-staple",
    "secret_name_random.yml": f"secret_name: {some(14)}7a",
}

# file name -> text with the secret in its last line
MULTILINE_SECRETS = {
    "variables.yml": f"variables:\n  - name: clientSecret\n    value: {some(18)}7a",
    "variables.json": f'[{{\n  "name": "API_TOKEN",\n  "value": "{some(18)}7a"}}]',
    "variables_marked.yml": "v:\n  - name: clientSecret\n    isSecret: true\n"
    f"    value: {some(18)}7a",
    "comments.yml": f"a: 1\n# {KEY}\n",
}

# harmless text that resembles a secret
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
    "marked_comment.yml": f"# {KEY} # pragma: allowlist secret",
    "MLmodel.yml": f"model_uuid: {some(32, HEX)}",
    "MLmodel": f"model_uuid: {some(32, HEX)}",
    "commit.json": f'{{"commit": "{some(40, HEX)}", "sha": "{some(40, HEX)}"}}',
    "name.bicep": "secretName: 'database-password'",
    "name.yml": "secret_name: database-password",
    "placeholder.md": "    AZURE_CLIENT_SECRET=<your secret>",
    "placeholder_inline.md": "Set `AZURE_CLIENT_SECRET=<your secret>` first.",
    "variables_kept.yml": "variables:\n  - name: clientSecret\n    value: $(clientSecret)",
    "variables_other.yml": "variables:\n  - name: clientSecret\n    value: $(x)\n"
    "  - name: image\n    value: ubuntu-24.04",
    "variables_before.yml": "variables:\n  - name: image\n    value: ubuntu-24.04\n"
    "  - name: clientSecret\n    value: $(x)",
    "command.sh": 'az login --password "$PASSWORD" && docker login --password-stdin',
    "command.md": "Type `mysql --password <your password>` or `gh auth --token TOKEN`.",
    "build.Dockerfile": 'ENV FEED_TOKEN="" KEY=\nARG FEED_TOKEN\nENV TOKEN_URL https://x.com/v2',
    "npm.md": f"It is sha512-{KEY} by its digest.",
    "function.md": "Call https://f.azurewebsites.net/api/x?code=KEY, or ?code=$KEY.",
    "swagger.yml": "paths: {/password: {get: {}}}",
    "lock.txt": f"pandas==2.3.1 \\\n    --hash=sha256:{some(64, HEX)}",
}

# Secrets that the stock tools miss. They also report false positives, such as the name of a secret
# under a key that may hold one or the word seed in a test, and they cannot read UTF-16.
NOT_FOUND = {
    "azure_devops_older.sh",
    "variable.yml",
    "password_of_a_command.sh",
    "token.Dockerfile",
    "token_of_a_shell.sh",
    "swagger.json",
    "secret_name_random.yml",
    "variables.yml",
    "variables.json",
    "variables_marked.yml",
}
