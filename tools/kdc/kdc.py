"""Deploys a KDC for the job: on a DC/OS cluster, or on this machine with --local.

    kdc.py [--secret-name S] [--binary-secret] deploy PRINCIPALS_FILE
    kdc.py [--secret-name S] [--binary-secret] add PRINCIPAL...
    kdc.py [--secret-name S] [--binary-secret] teardown
    kdc.py status

    principals file ──> KDC makes keys ──> keytab ──> secret __dcos_base64__S
                                                      (with --binary-secret: S)

Set `service.security.kerberos.keytab_secret` to the name of the secret. With
`--local DIR` the secret is the keytab itself, the file `DIR/secrets/__dcos_base64__S`.
All verbs can be repeated: they keep what exists. Exit code 0: done, 1: failed (status:
not running), 2: the user's mistake.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

if __name__ == "__main__":  # sys.path[0] is the script's folder, not the root
    sys.path[0] = str(Path(__file__).resolve().parents[2])

from poets.errors import ConfigError, PoetsError
from tools.kdc.dcos import DcosKdc
from tools.kdc.interface import (
    BASE64_PREFIX,
    PORT,
    REALM,
    Kdc,
    life_options,
    secret_name,
)
from tools.kdc.local import LocalKdc
from tools.kdc.principals import check_principals, read_principals


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line and returns its exit code."""
    args = build_parser().parse_args(argv)
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    try:
        return int(args.func(args))
    except PoetsError as error:
        print(f"kdc.py {args.verb}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print(f"kdc.py {args.verb}: interrupted; run it again", file=sys.stderr)
        return 130


def build_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="kdc.py", description="Deploys a KDC and its keytab.", allow_abbrev=False
    )
    add = parser.add_argument
    add("--secret-name", metavar="S", help="the keytab's secret, without its prefix")
    add(
        "--binary-secret",
        action="store_true",
        help=f"store the plain keytab, without {BASE64_PREFIX} in its name",
    )
    add("--local", type=Path, metavar="DIR", help="run on this machine, below DIR")
    add(
        "--port",
        type=_port,
        help=f"with --local; any free port if it is in use or 0 (default: {PORT})",
    )
    add("--realm", help=f"with --local (default: {REALM})")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True)
    verb = verbs.add_parser(
        "deploy", help="start the KDC, create principals and keytab"
    )
    verb.add_argument("principals_file", type=Path)
    verb.set_defaults(func=_deploy)
    _add_lives(verb)
    verb = verbs.add_parser("add", help="add principals to the KDC and the keytab")
    verb.add_argument("principals", nargs="+", metavar="PRINCIPAL")
    verb.set_defaults(func=_add)
    _add_lives(verb)
    verb = verbs.add_parser("status", help="show whether it runs, and what it holds")
    verb.set_defaults(func=_status)
    verb = verbs.add_parser("teardown", help="remove the KDC and the secret")
    verb.set_defaults(func=_teardown)
    return parser


def _add_lives(verb: argparse.ArgumentParser) -> None:
    for flag, of in (("--max-life", "tickets"), ("--max-renewable-life", "renewals")):
        verb.add_argument(
            flag, metavar="TIME", help=f"for these principals' {of}, as 20s or 1d12h"
        )


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: 0 to 65535")
    return int(text)


def _kdc(args: argparse.Namespace) -> Kdc:
    """Returns the KDC that the options describe; does not contact it."""
    if args.local is not None:
        return LocalKdc(
            args.local, args.realm, PORT if args.port is None else args.port
        )
    if args.port is not None or args.realm is not None:
        raise ConfigError(
            f"--port and --realm need --local DIR; a cluster's KDC has {PORT} and "
            f"{REALM}, from kdc.json"
        )
    return DcosKdc(binary=args.binary_secret)


def _deploy(args: argparse.Namespace) -> int:
    kdc = _kdc(args)
    principals = read_principals(args.principals_file, kdc.realm)
    return _make(args, kdc, principals, keep=False)


def _add(args: argparse.Namespace) -> int:
    kdc = _kdc(args)
    named = [(f"argument {i}", name) for i, name in enumerate(args.principals, 1)]
    principals = check_principals(named, kdc.realm, "principals")
    return _make(args, kdc, principals, keep=True)


def _make(args: argparse.Namespace, kdc: Kdc, principals: list[str], keep: bool) -> int:
    """Starts the KDC, creates principals, stores their keytab.

    Args:
      args: the command line.
      kdc: the KDC, running or not.
      principals: their names, with realm.
      keep: whether principals already in the keytab stay in it.
    """
    secret = secret_name(args.secret_name, args.binary_secret)
    life_options(args.max_life, args.max_renewable_life)  # fails before any change
    started = kdc.start()
    print(
        f"KDC of realm {kdc.realm}: {'started' if started else 'already running'} on "
        f"{kdc.address}"
    )
    new = kdc.add(principals, args.max_life, args.max_renewable_life)
    for principal in principals:
        print(f"principal {principal}: {'made' if principal in new else 'kept'}")
    held = kdc.secrets().get(secret, []) if keep else []
    where = kdc.keytab(secret, list(dict.fromkeys([*held, *principals])))
    print(f"keytab: secret {secret}, {where}")
    if isinstance(kdc, LocalKdc):
        print(f"clients: export KRB5_CONFIG={kdc.krb5_conf}")
    return 0


def _status(args: argparse.Namespace) -> int:
    kdc = _kdc(args)
    if not kdc.is_running:
        print(f"KDC of realm {kdc.realm}: not running")
        return 1
    print(f"KDC of realm {kdc.realm}: runs on {kdc.address}")
    for principal in kdc.principals():
        print(f"principal {principal}")
    for secret, principals in kdc.secrets().items():
        print(f"secret {secret}: {', '.join(principals)}")
    return 0


def _teardown(args: argparse.Namespace) -> int:
    secret = secret_name(args.secret_name, args.binary_secret)
    kdc = _kdc(args)
    found = kdc.delete_secret(secret)
    kdc.remove()
    print(f"secret {secret}: {'removed' if found else 'did not exist'}")
    print(f"KDC of realm {kdc.realm}: removed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
