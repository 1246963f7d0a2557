"""The steps of object stores: the credentials, and a connection to the store."""

import os

from poets.doctor import Checkup, Finding, step
from poets.doctor.network import host_and_port, reach
from poets.storage import open_storage
from poets.storage.objects import google_url
from poets.storage.objects.proxy import proxy_of, shown
from poets.storage.objects.s3_settings import ENDPOINTS, REGIONS, s3_settings

GOOGLE_EMULATOR = "STORAGE_EMULATOR_HOST"
GOOGLE_KEY = "GOOGLE_APPLICATION_CREDENTIALS"


@step("credentials", "the credentials are known")
def find_credentials(checkup: Checkup) -> Finding:
    """Finds the credentials in the environment; shows no secret."""
    return _google(checkup) if checkup.scheme == "gs" else _s3()


def _google(checkup: Checkup) -> Finding:
    open_storage(checkup.url)  # reads the variables, without a request
    if emulator := os.environ.get(GOOGLE_EMULATOR):
        return Finding(f"none, for the emulator of {GOOGLE_EMULATOR}={emulator}")
    path = os.environ.get(GOOGLE_KEY)
    return Finding(f"{GOOGLE_KEY}={path}" if path else "those of this machine")


def _s3() -> Finding:
    settings = s3_settings()
    details = [f"{name}={os.environ[name]}" for name in REGIONS if name in os.environ]
    if settings.address:
        name = next(name for name in ENDPOINTS if os.environ.get(name))
        details.append(f"the address is from {name}")
    if settings.ca_file:
        details.append(f"AWS_CA_BUNDLE={settings.ca_file}")
    if settings.uses_https and not settings.verifies:
        details.append("S3_VERIFY_SSL=0: any server is trusted")
    keys = "AWS_ACCESS_KEY_ID" if settings.access_key else "the AWS SDK"
    where = settings.url if settings.address else "AWS"
    return Finding(f"keys from {keys}, for {where}", tuple(details))


@step("endpoint", "the store accepts connections")
def reach_endpoint(checkup: Checkup) -> Finding:
    """Connects to the store's address, or to the proxy that requests go through."""
    if checkup.scheme == "gs":
        store, proxy = google_url(), proxy_of(google_url(), is_curl=True)
    else:
        settings = s3_settings()
        store, proxy = settings.url, settings.proxy
    if not proxy:
        return reach(
            [_address(store)],
            "the store",
            "check whether it is up, whether AWS_ENDPOINT_URL or S3_ENDPOINT names its "
            "host and port, and whether a firewall blocks it",
        )
    found = reach(
        [_address(proxy)],
        f"the proxy {shown(proxy)}",
        "check whether it is up, and whether HTTPS_PROXY or HTTP_PROXY names its host "
        "and port; set NO_PROXY to the store's host if it needs no proxy",
    )
    return Finding(
        f"requests to {store} go through the proxy {shown(proxy)}",
        (found.text, *found.details),
    )


def _address(url: str) -> tuple[str, int]:
    scheme, _, address = url.partition("://")
    address = address.rpartition("@")[2].rstrip("/")
    return host_and_port(address, 443 if scheme == "https" else 80)
