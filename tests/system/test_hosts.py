"""Which hosts may be asked: names, ports, networks, and addresses in disguise."""

import pytest

from poets.errors import ConfigError
from poets.system.hosts import Hosts

ANY = Hosts.parse("*")


@pytest.mark.parametrize(
    ("text", "host", "port", "is_allowed"),
    [
        ("*", "example.org", 443, True),
        ("example.org", "example.org", 8080, True),
        ("example.org", "EXAMPLE.org.", 80, True),
        ("Example.org.", "example.org", 80, True),
        ("example.org", "www.example.org", 80, False),
        ("example.org", "notexample.org", 80, False),
        ("example.org", "example.org.evil.net", 80, False),
        ("*.example.org", "a.b.example.org", 80, True),
        ("*.example.org", "example.org", 80, False),
        ("*.example.org", "notexample.org", 80, False),
        ("minio:9000", "minio", 9000, True),
        ("minio:9000", "minio", 22, False),
        ("a.org, b.org", "b.org", 80, True),
        ("bücher.example", "xn--bcher-kva.example", 80, True),
        ("10.0.0.0/8", "10.1.2.3", 80, True),
        ("10.0.0.0/8", "11.1.2.3", 80, False),
        ("10.0.0.0/8", "example.org", 80, False),
        ("127.0.0.1", "127.0.0.1", 80, True),
        ("[::1]", "::1", 80, True),
    ],
)
def test_names_and_networks_say_which_hosts_may_be_asked(text, host, port, is_allowed):
    assert Hosts.parse(text).allows_name(host, port) is is_allowed


@pytest.mark.parametrize(
    "address",
    ["93.184.216.34", "2606:2800:220:1::1", "64:ff9b::5db8:d822", "2002:5db8:d822::1"],
)
def test_public_addresses_need_no_network(address):
    assert ANY.allows_address(address)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1"),
        *("169.254.169.254", "0.0.0.0", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
        *("::1", "::", "fe80::1%eth0", "fc00::1", "fec0::1", "ff02::1", "2001:db8::1"),
        *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1"),
        *("2002:7f00:1::", "2002:a9fe:a9fe::1", "64:ff9b::a00:1", "64:ff9b:1::a00:1"),
        "2001:0:5db8:d822::1",
    ],
)
def test_other_addresses_need_a_network_in_every_disguise(address):
    assert not ANY.allows_address(address)
    assert not Hosts.parse("198.18.0.0/15").allows_address(address)


@pytest.mark.parametrize(
    ("network", "address"),
    [
        ("10.0.0.0/8", "10.1.2.3"),
        ("10.0.0.0/8", "::ffff:10.1.2.3"),
        ("10.0.0.0/8", "64:ff9b::a01:203"),
        ("fc00::/7", "fd00::1"),
        ("127.0.0.1", "127.0.0.1"),
    ],
)
def test_a_listed_network_allows_its_addresses(network, address):
    assert Hosts.parse(network).allows_address(address)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "'': is empty; give a host"),
        ("a.org,,b.org", "'': is empty"),
        ("10.0.0.1/8", "'10.0.0.1/8': is not a network (10.0.0.1/8 has host bits set)"),
        ("10.0.0.0/33", "'10.0.0.0/33': is not a network"),
        ("http://a.org/", "'http://a.org/': is not a network"),
        ("minio:port", "'port' is not a port; give 1 to 65535"),
        ("minio:", "'' is not a port"),
        ("minio:65536", "'65536' is not a port"),
        ("a*.org", "'a*.org': is not a host; give a name, *.domain, a network or *"),
        ("a..org", "'a..org': is not a host"),
        ("*.", "'*.': is not a host"),
        ("user@a.org", "'user@a.org': is not a host"),
    ],
)
def test_a_wrong_list_is_the_users_mistake(text, message):
    with pytest.raises(ConfigError) as caught:
        Hosts.parse(text)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"cannot use the list of hosts {text!r}: ")


def test_all_wrong_entries_are_reported_together():
    with pytest.raises(ConfigError, match="2 problems\n  - 'a b': .*\n  - 'c:d'"):
        Hosts.parse("a b,good.org,c:d")
