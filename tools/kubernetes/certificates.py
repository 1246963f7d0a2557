"""Issues the certificates of the cluster: an authority, servers and clients.

    DIR/pki/ca.pem, ca.key         the authority; its key also signs service accounts
    DIR/pki/NAME.pem, NAME.key     a certificate and its key
    DIR/NAME.kubeconfig            the API server's address with a client's certificate

In a client's certificate the name is the user and the organization the user's group.
"""

import base64
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path

DAYS = 3650
TIMEOUT_S = 60


def make_authority(folder: Path) -> None:
    """Makes the authority of a folder, unless it is there."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    if not (folder / "ca.pem").exists():
        _openssl("genrsa", "-out", str(folder / "ca.key"), "2048")
        _openssl(
            *("req", "-x509", "-new", "-key", str(folder / "ca.key"), "-sha256"),
            *("-days", str(DAYS), "-subj", "/CN=poets test cluster"),
            *("-out", str(folder / "ca.pem")),
        )


def issue(folder: Path, name: str, subject: str, addresses: Sequence[str] = ()) -> None:
    """Issues a certificate, unless it is there.

    Args:
      folder: that of the authority.
      name: of the files.
      subject: as `/O=system:masters/CN=admin`.
      addresses: of a server, as `DNS:localhost` or `IP:127.0.0.1`.
    """
    if (folder / f"{name}.pem").exists():
        return
    key, request = folder / f"{name}.key", folder / f"{name}.csr"
    _openssl("genrsa", "-out", str(key), "2048")
    _openssl("req", "-new", "-key", str(key), "-subj", subject, "-out", str(request))
    extensions = folder / f"{name}.ext"
    usage = "extendedKeyUsage=serverAuth,clientAuth\n"
    names = f"subjectAltName={','.join(addresses)}\n" if addresses else ""
    extensions.write_text(usage + names)
    _openssl(
        *("x509", "-req", "-in", str(request), "-sha256", "-days", str(DAYS)),
        *("-CA", str(folder / "ca.pem"), "-CAkey", str(folder / "ca.key")),
        *("-CAcreateserial", "-extfile", str(extensions)),
        *("-out", str(folder / f"{name}.pem")),
    )


def write_kubeconfig(folder: Path, name: str, server: str, path: Path) -> None:
    """Writes the configuration of a client of the API server."""

    def data(file: str) -> str:
        return base64.b64encode((folder / file).read_bytes()).decode()

    cluster = {"server": server, "certificate-authority-data": data("ca.pem")}
    user = {
        "client-certificate-data": data(f"{name}.pem"),
        "client-key-data": data(f"{name}.key"),
    }
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "poets",
        "clusters": [{"name": "poets", "cluster": cluster}],
        "users": [{"name": name, "user": user}],
        "contexts": [{"name": "poets", "context": {"cluster": "poets", "user": name}}],
    }
    path.touch(mode=0o600)
    path.write_text(json.dumps(config, indent=2))


def _openssl(*arguments: str) -> None:
    subprocess.run(
        ["openssl", *arguments], check=True, capture_output=True, timeout=TIMEOUT_S
    )
