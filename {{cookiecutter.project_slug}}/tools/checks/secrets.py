"""Kinds of secrets that users of Azure have and detect-secrets does not know, by their form.

Each class is one kind; `tools.checks.secret_files` looks for all. What looks like one and is none
is marked in its line: ``# pragma: allowlist secret``.
"""

import re
from typing import ClassVar

from detect_secrets.plugins.base import RegexBasedDetector


class SharedAccessSignatureDetector(RegexBasedDetector):
    """The signature of an address of Azure storage, Service Bus or Event Hubs."""

    secret_type = "Shared access signature"  # noqa: S105  # pragma: allowlist secret
    denylist: ClassVar = [
        re.compile(r"(?:\b|\\u0026)sig(?:=|%3D)([A-Za-z0-9%+/_-]{20,}={0,2})", re.IGNORECASE)
    ]


class ConnectionStringDetector(RegexBasedDetector):
    """The key in a connection string of Azure, whatever the service."""

    secret_type = "Key in a connection string"  # noqa: S105  # pragma: allowlist secret
    denylist: ClassVar = [
        re.compile(r"\b(?:Account|SharedAccess|Access|Primary)Key=([A-Za-z0-9+/]{20,}={0,2})"),
    ]


class EntraSecretDetector(RegexBasedDetector):
    """The secret of an app registration in Entra ID, by its form."""

    secret_type = "Client secret of Entra ID"  # noqa: S105  # pragma: allowlist secret
    denylist: ClassVar = [re.compile(r"(?<![\w~.-])([\w~.-]{3}[78]Q~[\w~.-]{31,34})(?![\w~-])")]


class DatabricksTokenDetector(RegexBasedDetector):
    """A token of Databricks."""

    secret_type = "Databricks token"  # noqa: S105  # pragma: allowlist secret
    denylist: ClassVar = [re.compile(r"\b(da" + r"pi[0-9a-f]{32}(?:-\d)?)\b")]


class AzureDevOpsTokenDetector(RegexBasedDetector):
    """A personal access token of Azure DevOps, as it is made today and as it was."""

    secret_type = "Azure DevOps token"  # noqa: S105  # pragma: allowlist secret
    denylist: ClassVar = [
        re.compile(r"\b([A-Za-z0-9]{76}AZDO[A-Za-z0-9]{4})\b"),
        re.compile(r"(?<![\w+/=])(?=[a-z]*[2-7])([a-z2-7]{52})(?![\w+/=])"),
    ]


class TokenDetector(RegexBasedDetector):
    """A signed token of three parts, as identity providers make them."""

    secret_type = "Signed token"  # noqa: S105  # pragma: allowlist secret
    denylist: ClassVar = [re.compile(r"\b(eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{16,})")]


class AuthorizationHeaderDetector(RegexBasedDetector):
    """User and password, or a token, in a header."""

    secret_type = "Authorization header"  # noqa: S105  # pragma: allowlist secret
    denylist: ClassVar = [
        re.compile(
            r"authorization[\"']?\s*[:=]\s*[\"']?(?:basic|bearer|token)\s+([A-Za-z0-9._~+/-]{12,}=*)",
            re.IGNORECASE,
        )
    ]


class GithubFineGrainedTokenDetector(RegexBasedDetector):
    """A token of GitHub of the newer form."""

    secret_type = "GitHub fine-grained token"  # noqa: S105  # pragma: allowlist secret
    denylist: ClassVar = [re.compile(r"\b(github_pat_\w{40,})")]


class StorageKeyDetector(RegexBasedDetector):
    """A key of 64 bytes, as Azure's storage has it; the digests of npm begin with sha512-."""

    secret_type = "Key of a storage account"  # noqa: S105  # pragma: allowlist secret
    denylist: ClassVar = [re.compile(r"(?<![\w+/=])(?<!sha512-)([A-Za-z0-9+/]{86}==)(?![\w+/=])")]


class EncryptedKeyDetector(RegexBasedDetector):
    """A private key whose password can be guessed."""

    secret_type = "Encrypted private key"  # noqa: S105  # pragma: allowlist secret
    denylist: ClassVar = [re.compile(r"BEGIN (ENCRYPTED) PRIVATE KEY")]
