"""Secrets like those of users, assembled from pieces so that no file contains one."""

import base64
import random
import string

_LETTERS = string.ascii_letters + string.digits
_RANDOM = random.Random(5)  # noqa: S311


def random_text(length: int, characters: str = _LETTERS) -> str:
    """Return random characters: new ones at each call, the same in each run of the tests."""
    return "".join(_RANDOM.choice(characters) for _ in range(length))


def _part(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


KEY = random_text(86, _LETTERS + "+/") + "=="
SIGNATURE = f"{random_text(20)}%2B{random_text(20)}%3D"
SAS = f"sv=2024-11-04&ss=b&sp=rl&se=2030-01-01T00:00:00Z&spr=https&sig={SIGNATURE}"
PASSWORD = random_text(20)
JWT = ".".join(
    (_part('{"alg":"RS256","typ":"JWT"}'), _part('{"oid":"1","n":"x"}'), random_text(43))
)
HEX = "0123456789abcdef"

_UNMARKED = "q2" + random_text(50, string.ascii_lowercase + "234567")
_BRACKETS = "p$s{" + random_text(6) + "}1(*)[x"
_WORDS = random_text(14, string.ascii_lowercase)

# type of secret -> the secret, and a text that contains it
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
    "client_secret_by_form": (PASSWORD, f"got Ab18Q~{PASSWORD}{random_text(14)}"),
    "json": (PASSWORD, f'"username": "x", "password": "{PASSWORD}", "n": 1'),
    "databricks": ("da" + "pi", "got da" + "pi" + random_text(32, HEX)),
    "github": (
        "gh" + "p_",
        "git clone https://" + "gh" + "p_" + random_text(36) + "@github.com/x/y",
    ),
    "azure_devops": ("AZ" + "DO", "PAT " + random_text(76) + "AZ" + "DO" + random_text(4)),
    "private_key": (
        PASSWORD,
        "-----BEGIN " + f"PRIVATE KEY-----\n{PASSWORD}\n-----END " + "PRIVATE KEY-----",
    ),
    "json_in_json": (PASSWORD, rf"the body [\"password\": \"{PASSWORD}\", \"n\": 1]"),
    "json_with_blanks": (PASSWORD, f'"n": 1, "password" :  "{PASSWORD}"'),
    "two_blanks": (PASSWORD, f"password  =  {PASSWORD}"),
    "blanks_and_colon": (PASSWORD, f"password :  {PASSWORD}"),
    "brackets_in_connection": (_BRACKETS, f"Server=x;Password={_BRACKETS};User=y"),
    "brackets_at_the_start": (_BRACKETS[1:], f"Password={_BRACKETS[1:]};User=y"),
    "word_in_connection": (_WORDS, f"Server=x;Password={_WORDS};User=y"),
    "word_first_in_connection": (_WORDS, f"Password={_WORDS};User=y"),
    "option_password": (PASSWORD, f"$ tool --password {PASSWORD} --verbose"),
    "option_account_key": (PASSWORD, f"$ az x --account-key {PASSWORD}"),
    "option_sas_token": (PASSWORD, f"$ az x --sas-token {PASSWORD}"),
    "option_in_list": (PASSWORD, f"Command ['tool', '--password', '{PASSWORD}'] returned 1"),
    "sas_in_json": (SIGNATURE, rf'"url": "https://a/c?sp=r\u0026sig={SIGNATURE}"'),
    "signature_in_json": (PASSWORD, f'body "sig": "{PASSWORD}="'),
    "run_token": (PASSWORD, f"AZUREML_RUN_TOKEN={PASSWORD}"),
    "token_of_another": (PASSWORD, f"env FEED_TOKEN={PASSWORD} set"),
    "subscription_key": (PASSWORD, f"Ocp-Apim-Subscription-Key: {PASSWORD}"),
    "functions_key": (PASSWORD, f"header x-functions-key: {PASSWORD}"),
    "azure_devops_before": (_UNMARKED, f"the PAT {_UNMARKED} has expired"),
    "basic_of_letters": ("dXNlcjpwYXNz", "Authorization: Basic " + "dXNlcjpwYXNz"),
}
