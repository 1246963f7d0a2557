"""Decides which hosts may be asked for URLs from outside: `Hosts`.

A URL from outside must not reach what only this machine can reach: its own services,
the private network, a cloud's metadata at 169.254.169.254.

    *.example.org     the hosts below a domain
    minio:9000        one host, on this port only
    *                 any host
    10.0.0.0/8        also these addresses, which are not public

A request needs both: a listed name, and an address that is public or in a listed
network. A URL with such an address for its host needs no name.
"""

from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

from poets.errors import ConfigError, format_problems

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

PUBLIC_IPV6 = IPv6Network("2000::/3")  # the global unicast addresses of RFC 4291
NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052: an IPv4 address in the last 32 bits


@dataclass(frozen=True)
class Hosts:
    """The hosts that may be asked.

    Attributes:
      names: (name or pattern in lower case, its port or None for any).
      networks: addresses that may be asked although they are not public.
    """

    names: tuple[tuple[str, int | None], ...]
    networks: tuple[Network, ...]

    @classmethod
    def parse(cls, text: str) -> "Hosts":
        """Reads a list such as "*.example.org,minio:9000,10.0.0.0/8".

        Raises:
          ConfigError: lists every wrong entry.
        """
        names, networks, problems = [], [], []
        for entry in text.split(","):
            try:
                found = _parse(entry.strip().lower())
            except ValueError as error:
                problems.append(f"{entry.strip()!r}: {error}")
                continue
            if isinstance(found, tuple):
                names.append(found)
            else:
                networks.append(found)
        if problems:
            title = f"cannot use the list of hosts {text!r}"
            raise ConfigError(format_problems(title, problems))
        return cls(tuple(names), tuple(networks))

    def allows_name(self, host: str, port: int) -> bool:
        """Returns whether the host of a URL may be asked, if its address may, too."""
        host = host.lower().rstrip(".")
        try:
            if self._lists(ip_address(host)):
                return True
        except ValueError:
            pass  # a name
        return any(
            wanted in (None, port) and _matches(host, name)
            for name, wanted in self.names
        )

    def allows_address(self, address: str) -> bool:
        """Returns whether an address is public, or in a listed network."""
        found = ip_address(address)
        return _is_public(found) or self._lists(found)

    def _lists(self, address: Address) -> bool:
        return any(
            each in network
            for each in (address, _embedded(address))
            for network in self.networks
        )


def _parse(entry: str) -> tuple[str, int | None] | Network:
    if not entry:
        raise ValueError("is empty; give a host, *.domain, a network or *")
    try:
        return ip_network(entry.strip("[]"))
    except ValueError as error:
        if "/" in entry:
            raise ValueError(f"is not a network ({error}); write 10.0.0.0/8") from None
    name, colon, port = entry.partition(":")
    if colon and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"{port!r} is not a port; give 1 to 65535")
    domain = name.removeprefix("*.") if name != "*" else "any"
    try:
        domain = domain.rstrip(".").encode("idna").decode()
    except UnicodeError:
        domain = ""
    if not all(
        part.replace("-", "").replace("_", "").isalnum() for part in domain.split(".")
    ):
        raise ValueError("is not a host; give a name, *.domain, a network or *")
    prefix = "*." if name.startswith("*.") else ""
    return ("*" if name == "*" else prefix + domain), int(port) if colon else None


def _matches(host: str, name: str) -> bool:
    return name in ("*", host) or (name[:2] == "*." and host.endswith(name[1:]))


def _is_public(address: Address) -> bool:
    inner = _embedded(address)
    if isinstance(inner, IPv4Address):
        return inner.is_global and not inner.is_multicast
    return inner.is_global and inner in PUBLIC_IPV6


def _embedded(address: Address) -> Address:
    """Returns the IPv4 address that an IPv6 address leads to, else the address."""
    if isinstance(address, IPv4Address):
        return address
    if address in NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address
