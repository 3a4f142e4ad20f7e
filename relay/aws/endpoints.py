"""Where Amazon SES is, for each region: the URLs of its API, and host and port of its SMTP interface.

Owns what boto3 would choose for the same environment: AWS_ENDPOINT_URL and its kin for ses and sesv2, the
`services` sections of the shared configuration file, FIPS and dual-stack settings (AWS SDKs and tools reference
guide, "Service-specific endpoints", "Dual-stack and FIPS endpoints"), and HTTP(S)_PROXY with NO_PROXY. The
configuration's own overrides win. botocore is asked in a thread, once per region. SMTP names follow the SES
developer guide, "Connecting to an Amazon SES SMTP endpoint".
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field, replace
from typing import Final, Literal
from urllib.parse import SplitResult, quote, urlsplit

import botocore.session
from botocore import UNSIGNED
from botocore.config import Config
from botocore.httpsession import ProxyConfiguration
from botocore.utils import get_environ_proxies

from relay.settings.addresses import TcpAddress

Operation = Literal["SendRawEmail", "SendEmail"]
# What may be asked besides sending
Question = Literal["GetAccount", "GetSendQuota", "GetCallerIdentity", "GetEmailIdentity", "GetConfigurationSet"]
SmtpTls = Literal["starttls", "implicit", "none"]

# Operation -> botocore's name of the service, path below its endpoint (SES API references v1 and v2, STS's)
_OPERATIONS: Final[dict[Operation | Question, tuple[str, str]]] = {
    "SendRawEmail": ("ses", ""),
    "SendEmail": ("sesv2", "/v2/email/outbound-emails"),
    "GetAccount": ("sesv2", "/v2/email/account"),
    "GetSendQuota": ("ses", ""),
    "GetCallerIdentity": ("sts", ""),
    "GetEmailIdentity": ("sesv2", "/v2/email/identities"),
    "GetConfigurationSet": ("sesv2", "/v2/email/configuration-sets"),
}
_PORTS: Final[dict[SmtpTls, int]] = {"starttls": 587, "implicit": 465, "none": 587}
_UNSIGNED: Final = Config(signature_version=UNSIGNED)  # nothing is sent, so no keys are to be looked for
_AS_AWS_HAS_IT: Final = _UNSIGNED.merge(Config(ignore_configured_endpoint_urls=True))  # type: ignore[call-arg]  # stubs are behind
_ANY_REGION: Final = "us-east-1"


class EndpointTrouble(Exception):
    """botocore finds no endpoint with these settings; `detail` says why, for the log."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


@dataclass(frozen=True, slots=True)
class ApiEndpoint:
    """The URL to post an operation to, and the proxy on the way; the proxy's URL may hold a password.

    `host` is the value of the Host header, `path` that of the URL.
    """

    url: str
    host: str
    path: str
    proxy: str | None = field(default=None, repr=False)

    def below(self, name: str) -> ApiEndpoint:
        """What is called so at this endpoint; any character will do."""
        segment = f"/{quote(name, safe='')}"
        return replace(self, url=self.url + segment, path=self.path + segment)


@dataclass(frozen=True, slots=True)
class SmtpEndpoint:
    """The SMTP interface of a region, and how TLS begins there."""

    host: str
    port: int
    tls: SmtpTls


class ApiEndpoints:
    """API endpoints by operation and region, as boto3 would choose them.

    `override` is `ses.api_endpoint`, and holds for SES only: STS is where boto3 would find it.
    """

    def __init__(self, override: str | None = None) -> None:
        self._override = override
        self._found: dict[tuple[Operation | Question, str], ApiEndpoint] = {}
        self._session = botocore.session.Session()  # reads nothing yet; it keeps what it has read for other regions
        self._asking = asyncio.Lock()  # a session is not made for several threads
        self._sts_moved: bool | None = None

    @property
    def elsewhere(self) -> bool:
        """Whether the configuration says that SES is not where boto3 would find it."""
        return self._override is not None

    @property
    def sts_belongs(self) -> bool:
        """Whether STS, where boto3 finds it, is that of this SES, and can be asked about its credentials.

        It is unless `ses.api_endpoint` is given and STS has been left where AWS has it: AWS_ENDPOINT_URL_STS,
        AWS_ENDPOINT_URL and their kin in the shared configuration file name another one. Blocks a little the first
        time, for files; settings that botocore cannot read name none.
        """
        if self._override is None:
            return True
        if self._sts_moved is None:
            self._sts_moved = _sts_url(_UNSIGNED) != _sts_url(_AS_AWS_HAS_IT)
        return self._sts_moved

    async def find(self, operation: Operation | Question, region: str) -> ApiEndpoint:
        """The endpoint of `operation` in `region`. Raises EndpointTrouble."""
        key = operation, region
        if key not in self._found:
            async with self._asking:
                if key not in self._found:
                    self._found[key] = await asyncio.to_thread(self._ask_botocore, operation, region)
        return self._found[key]

    def _ask_botocore(self, operation: Operation | Question, region: str) -> ApiEndpoint:
        service, path = _OPERATIONS[operation]
        override = self._override if service != "sts" else None
        try:
            client = self._session.create_client(service, region_name=region, endpoint_url=override, config=_UNSIGNED)
        except Exception as error:  # configuration files hold surprises beyond BotoCoreError, such as ValueError
            raise EndpointTrouble(f"{service} in {region}: {type(error).__name__}: {error}") from error
        url = client.meta.endpoint_url
        client.close()
        return _endpoint(url.rstrip("/") + path if path else url)


class SmtpEndpoints:
    """SMTP endpoints by region; `override` is `ses.smtp_endpoint`, `tls` is `ses.smtp_tls`. Blocks while it is made."""

    def __init__(self, override: TcpAddress | None, tls: SmtpTls) -> None:
        self._override, self._tls = override, tls
        session = botocore.session.Session()
        self._name = "email-smtp-fips" if session.get_config_variable("use_fips_endpoint") else "email-smtp"
        self._suffixes = [
            (re.compile(partition["regionRegex"]), partition["outputs"]["dnsSuffix"])
            for partition in session.get_data("partitions")["partitions"]
        ]

    def __call__(self, region: str) -> SmtpEndpoint:
        """The SMTP endpoint of `region`; a name that follows the pattern, whether or not SES has it."""
        if self._override:
            return SmtpEndpoint(self._override.host, self._override.port, self._tls)
        suffix = next((suffix for regions, suffix in self._suffixes if regions.match(region)), "amazonaws.com")
        return SmtpEndpoint(f"{self._name}.{region}.{suffix}", _PORTS[self._tls], self._tls)


def _sts_url(config: Config) -> str:
    """Where STS is; "" when botocore does not find out. With a session of its own, since others may be in use."""
    try:
        client = botocore.session.Session().create_client("sts", region_name=_ANY_REGION, config=config)
    except Exception:  # noqa: BLE001 - as above; whoever asks STS hears what is wrong
        return ""
    client.close()
    return str(client.meta.endpoint_url)


def _endpoint(url: str) -> ApiEndpoint:
    parts = urlsplit(url)
    proxy = ProxyConfiguration(get_environ_proxies(url)).proxy_url_for(url)
    return ApiEndpoint(url, _host_header(parts), parts.path or "/", proxy)


def _host_header(parts: SplitResult) -> str:
    """Host and port, the port only where it is not the scheme's own (RFC 9110 section 7.2)."""
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    usual = {"https": 443, "http": 80}.get(parts.scheme)
    return host if parts.port in (None, usual) else f"{host}:{parts.port}"
