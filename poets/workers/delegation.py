"""Delegation tokens for Spark's executors, from the driver's JVM.

    ticket or keytab of the driver, or its own tokens ──JVM──> HDTS file ──> executors

Spark keeps the tokens of its JVM fresh where it has a keytab. Those it does not have,
as outside YARN, are asked for by Hadoop's own client. No ticket reaches an executor.
"""

from collections.abc import Iterable
from typing import Any

from py4j.protocol import Py4JJavaError

from poets.errors import ConfigError, KerberosError
from poets.storage import scheme_of
from poets.storage.hadoop.client_conf import AUTHENTICATION
from poets.storage.hadoop.conf import HadoopConf
from poets.storage.hadoop.url import locate

SCHEMES = ("hdfs", "viewfs", "webhdfs", "swebhdfs")


def tokens_for(urls: Iterable[str], conf: HadoopConf, context: Any) -> bytes:
    """Returns a file of delegation tokens for URLs; empty without Kerberos.

    `context` is the `SparkContext`.

    Raises:
      ConfigError: if Spark's JVM does not know that the cluster has Kerberos.
      KerberosError: if a NameNode gives none.
    """
    roots = {root for url in urls if (root := root_of(url, conf))}
    hadoop = context._jvm.org.apache.hadoop
    if not roots:
        return b""
    if not hadoop.security.UserGroupInformation.isSecurityEnabled():
        if conf.get(AUTHENTICATION) == "kerberos":
            raise ConfigError(
                "Spark does not know that the cluster has Kerberos, so that its "
                "executors get no tokens: set HADOOP_CONF_DIR to the folder of "
                "core-site.xml before Spark starts"
            )
        return b""
    user = hadoop.security.UserGroupInformation.getCurrentUser()
    credentials = hadoop.security.Credentials(user.getCredentials())
    jvm_conf = context._jsc.hadoopConfiguration()
    for root in sorted(roots):
        try:
            filesystem = hadoop.fs.Path(root).getFileSystem(jvm_conf)
            filesystem.addDelegationTokens(user.getShortUserName(), credentials)
        except Py4JJavaError as error:
            why = error.java_exception.getMessage() or error.java_exception.toString()
            raise KerberosError(
                f"cannot get a delegation token for {root!r}, as "
                f"{user.getUserName()!r}: {why.splitlines()[0]}; log in with kinit, or "
                "start Spark with --principal and --keytab"
            ) from error
    buffer = hadoop.io.DataOutputBuffer()
    credentials.writeTokenStorageToStream(buffer)
    return bytes(buffer.getData())[: buffer.getLength()]


def root_of(url: str, conf: HadoopConf) -> str:
    """Returns the file system of a URL for Hadoop; "" for other storages."""
    scheme = scheme_of(url)
    if scheme not in SCHEMES:
        return ""
    if scheme.startswith(("web", "sweb")):
        return "/".join(url.split("/")[:3]) + "/"
    return locate(url, conf, user="").root + "/"
