"""Creates the certificate of the web interfaces, for `swebhdfs://`.

    secrets/server.p12         key and certificate, for the daemons
    conf/ssl-server.xml        the path and password of that file
    client/ca.pem              the certificate, for `verify=`

The certificate is self-signed, for one host name, and created once.
"""

import os
import secrets
import subprocess
from pathlib import Path

from tools.hdfs.configuration import HdfsError, write_site
from tools.packages import find_program

VALID_DAYS = 3650


def write_keystore(folder: Path, host: str) -> None:
    """Creates key, certificate and ssl-server.xml, unless they exist.

    Raises:
      HdfsError: if keytool fails.
    """
    server_xml = folder / "conf" / "ssl-server.xml"
    if server_xml.exists():
        return
    store = folder / "secrets" / "server.p12"
    store.unlink(missing_ok=True)
    certificate = folder / "client" / "ca.pem"
    certificate.parent.mkdir(parents=True, exist_ok=True)
    password = secrets.token_urlsafe(24)
    common = ["-keystore", str(store), "-storetype", "PKCS12", "-alias", "server"]
    common += ["-storepass:env", "STORE_PASSWORD"]
    make = ["-genkeypair", "-keyalg", "RSA", "-keysize", "2048"]
    make += ["-dname", f"CN={host}", "-ext", f"SAN=dns:{host},ip:127.0.0.1"]
    make += ["-validity", str(VALID_DAYS)]
    for arguments in (make, ["-exportcert", "-rfc", "-file", str(certificate)]):
        done = subprocess.run(
            [find_program("keytool") or "keytool", *arguments, *common],
            env=os.environ | {"STORE_PASSWORD": password},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if done.returncode:
            raise HdfsError(
                f"keytool {arguments[0]} failed on {str(store)!r}: "
                f"{' '.join(done.stdout.split())}"
            )
    store.chmod(0o600)
    kept = {"location": str(store), "password": password, "type": "PKCS12"}
    properties = {f"ssl.server.keystore.{key}": text for key, text in kept.items()}
    write_site(server_xml, properties | {"ssl.server.keystore.keypassword": password})
