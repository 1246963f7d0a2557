"""The address and the keys of an S3 store, from the environment: `s3_settings()`.

    AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN   the keys; without them
                                    what the AWS SDK finds: profile, role, web identity
    AWS_ENDPOINT_URL_S3, AWS_ENDPOINT_URL   http(s)://host:port; the first counts
    S3_ENDPOINT, S3_USE_HTTPS               host:port without scheme, and 0 or 1
    AWS_REGION, AWS_DEFAULT_REGION, S3_REGION
    S3_VERIFY_SSL, AWS_CA_BUNDLE            0 or 1; a file of certificates
    HTTPS_PROXY, HTTP_PROXY, NO_PROXY       see `poets.storage.objects.proxy`

The S3_ names are those of TensorFlow's own S3 client, as in the options of older jobs.
Contradictions are reported all at once, without secrets.
"""

import os
import re
from dataclasses import dataclass, field, replace

from poets.errors import ConfigError, format_problems
from poets.storage.objects.proxy import proxy_of, shown

ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "S3_ENDPOINT")
REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION", "S3_REGION")
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")

_SWITCH = {"0": False, "false": False, "1": True, "true": True}
_ADDRESS = re.compile(r"(?:[\w.-]+|\[[0-9a-fA-F:.]+\])(?::\d{1,5})?")


@dataclass(frozen=True)
class S3Settings:
    """How to reach an S3 store.

    Attributes:
      access_key, secret_key, session_token: "" if the AWS SDK is to find them.
      address: host:port; "" for AWS itself.
      uses_https: whether the connection is encrypted.
      verifies: whether the server's certificate is verified.
      ca_file: a file of certificates to verify with; "" for the system's.
      region: "" if the AWS SDK is to find it.
      proxy: http://host:port that requests go through; "" without one.
    """

    access_key: str = ""
    secret_key: str = field(default="", repr=False)
    session_token: str = field(default="", repr=False)
    address: str = ""
    uses_https: bool = True
    verifies: bool = True
    ca_file: str = ""
    region: str = ""
    proxy: str = field(default="", repr=False)  # it may have a password

    @property
    def url(self) -> str:
        """The store's address, as "https://host:port"; by default, that of AWS."""
        scheme = "https" if self.uses_https else "http"
        aws = f"s3.{self.region or 'us-east-1'}.amazonaws.com"
        return f"{scheme}://{self.address or aws}"


def s3_settings() -> S3Settings:
    """Returns the settings of the environment.

    Raises:
      ConfigError: if variables are malformed or contradict each other.
    """
    problems: list[str] = []
    access_key, secret_key, session_token = _keys(problems)
    address, uses_https = _endpoint(problems)
    ca_file = os.environ.get("AWS_CA_BUNDLE", "")
    if ca_file and not os.path.isfile(ca_file):
        problems.append(f"AWS_CA_BUNDLE={ca_file!r} is not a file")
    verifies = _switch("S3_VERIFY_SSL", problems)
    region = _one_of(REGIONS, problems)
    if problems:
        raise ConfigError(format_problems("cannot use S3", problems))
    found = S3Settings(
        access_key,
        secret_key,
        session_token,
        address=address,
        uses_https=uses_https,
        verifies=verifies is not False,
        ca_file=ca_file,
        region=region or ("us-east-1" if address else ""),
    )
    proxy = proxy_of(found.url)
    if proxy and uses_https and not found.verifies:
        raise ConfigError(
            f"cannot use S3 through the proxy {shown(proxy)!r}: S3_VERIFY_SSL=0 works "
            "without a proxy only; name the certificates by AWS_CA_BUNDLE, or set "
            "NO_PROXY to the store's host"
        )
    return replace(found, proxy=proxy)


def _keys(problems: list[str]) -> list[str]:
    """Returns the three keys; problems never show one."""
    found = {name: os.environ.get(name, "") for name in KEYS}
    for name in KEYS:
        if re.search(r"\s", found[name]):
            problems.append(f"{name} has a blank or a line break in it; take it out")
    present = [name for name in KEYS if found[name]]
    missing = [name for name in KEYS[:2] if name not in present]
    if present and missing:
        problems.append(
            f"{' and '.join(present)} without {' and '.join(missing)}; set all of them"
        )
    return list(found.values())


def _endpoint(problems: list[str]) -> tuple[str, bool]:
    """Returns host:port, or "" for AWS itself, and whether HTTPS is used."""
    asked = _switch("S3_USE_HTTPS", problems)
    found: dict[str, tuple[str, bool | None]] = {}
    for name in ENDPOINTS:
        value = os.environ.get(name, "")
        if not value:
            continue
        scheme, separator, address = value.rstrip("/").rpartition("://")
        wants_scheme = name != "S3_ENDPOINT"
        if not _ADDRESS.fullmatch(address) or (
            wants_scheme and scheme not in ("http", "https")
        ):
            form = "http://host:port or https://host" if wants_scheme else "host:port"
            problems.append(f"{name}={_shown(value)} is not an address; write {form}")
        elif separator and not wants_scheme:
            problems.append(
                f"{name}={value!r} has a scheme; write {address!r}, and "
                "S3_USE_HTTPS=0 or 1"
            )
        else:
            found[name] = (address, scheme == "https" if separator else None)
    if not found:
        return "", True
    name, (address, uses_https) = next(iter(found.items()))
    other, _ = found.get("S3_ENDPOINT", (address, None))
    if other != address:
        problems.append(
            f"{name} names {address!r} and S3_ENDPOINT names {other!r}; unset one"
        )
    if None not in (asked, uses_https) and asked != uses_https:
        problems.append(
            f"{name} begins with {'https' if uses_https else 'http'} and "
            f"S3_USE_HTTPS={os.environ['S3_USE_HTTPS']}; unset one"
        )
    if uses_https is None:
        uses_https = asked is not False
    return address, uses_https


def _switch(name: str, problems: list[str]) -> bool | None:
    value = os.environ.get(name, "")
    if value and value.lower() not in _SWITCH:
        problems.append(f"{name}={value!r}; write 0 or 1")
    return _SWITCH.get(value.lower())


def _one_of(names: tuple[str, ...], problems: list[str]) -> str:
    """Returns the value that variables agree on, or ""."""
    found = {name: value for name in names if (value := os.environ.get(name))}
    if len(set(found.values())) > 1:
        found_text = " and ".join(f"{name}={value!r}" for name, value in found.items())
        problems.append(f"{found_text} differ; unset all but one")
    return next(iter(found.values()), "")


def _shown(value: str) -> str:
    """Returns an address for a message, without a user and a password."""
    before, separator, address = value.rpartition("@")
    return repr(f"***@{address}" if separator else value)
