"""A certificate that signs itself, for servers of tests on loopback."""

import subprocess
from pathlib import Path

TIMEOUT_S = 300


def write_certificate(
    folder: Path, names: str = "DNS:localhost,IP:127.0.0.1"
) -> tuple[Path, Path]:
    """Writes a certificate for some names; returns its path and that of its key."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-keyout", key, "-out", certificate, "-subj", "/CN=localhost"),
            *("-addext", f"subjectAltName={names}"),
        ],
        check=True,
        capture_output=True,
        timeout=TIMEOUT_S,
    )
    return certificate, key
