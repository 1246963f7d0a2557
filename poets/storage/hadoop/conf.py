"""Reads the configuration of a Hadoop cluster from its two XML files: `load_conf()`.

    POETS_HADOOP_CONF                          a folder, or an http(s):// folder
    HDFS_CORE_SITE_URI, HDFS_HDFS_SITE_URI     two files, as a DC/OS task has them
    HADOOP_CONF_DIR                            a folder
    HADOOP_HOME                                its etc/hadoop

The first one that is set is the source, and must have both core-site.xml and
hdfs-site.xml. They are read as Hadoop reads them: later files override earlier ones
except for <final> values; a deprecated key sets its successor; values are trimmed;
${name}, ${env.NAME} and ${env.NAME:-default} are replaced, 20 deep; <xi:include> is
followed. The clients' own parsers do less.
"""

import logging
import os
import re
import threading
from collections.abc import Iterator, Mapping
from urllib.parse import urljoin
from xml.etree import ElementTree

from poets.errors import StorageError
from poets.storage import storage_errors
from poets.storage.calls import allowed_s, call
from poets.storage.hadoop.user import system_user
from poets.system import http

CONF_VARIABLE = "POETS_HADOOP_CONF"
URI_VARIABLES = ("HDFS_CORE_SITE_URI", "HDFS_HDFS_SITE_URI")
FILES = ("core-site.xml", "hdfs-site.xml")
MAX_DEPTH = 20  # of variables in variables, and of files in files
MAX_BYTES = 16 << 20
CONNECT_TIMEOUT_S = 10.0
RENAMED = {  # deprecated key -> successor, of the keys used here
    "fs.default.name": "fs.defaultFS",
    "dfs.http.address": "dfs.namenode.http-address",
    "dfs.https.address": "dfs.namenode.https-address",
    "dfs.socket.timeout": "dfs.client.socket-timeout",
    "dfs.umaskmode": "fs.permissions.umask-mode",
}

_XINCLUDE = "{http://www.w3.org/2001/XInclude}"
_VARIABLE = re.compile(r"\$\{([^}$\s]+)\}")
_ENVIRONMENT = re.compile(r"env\.(?P<name>[^:-]+)(?P<else>:?-)?(?P<default>.*)")

_log = logging.getLogger(__name__)

_Raw = Mapping[str, tuple[str, str]]  # key -> its value and the file of that


class HadoopConf(Mapping[str, str]):
    """Keys and their values, with the file that each came from.

    Attributes:
      sources: the files that were read, in order, as paths or URLs.
      searched: the variables that were examined to find them, for messages.
    """

    def __init__(self, raw: _Raw, sources: tuple[str, ...], searched: str) -> None:
        self._raw = dict(raw)
        self.sources, self.searched = sources, searched

    def __getitem__(self, key: str) -> str:
        return self._expanded(self._raw[key][0], key)

    def __iter__(self) -> Iterator[str]:
        return iter(self._raw)

    def __len__(self) -> int:
        return len(self._raw)

    def source_of(self, key: str) -> str:
        """Returns the file that a key's value is from; raises KeyError."""
        return self._raw[key][1]

    def _expanded(self, value: str, key: str) -> str:
        for _ in range(MAX_DEPTH):
            for match in _VARIABLE.finditer(value):
                found = self._variable(match[1])
                if found is not None and found != match[0]:
                    break
            else:
                return value.strip()  # unknown variables stay, as in Hadoop
            value = value[: match.start()] + found + value[match.end() :]
        raise StorageError(
            f"cannot read {self.source_of(key)!r}: the value of {key!r} has variables "
            f"more than {MAX_DEPTH} deep, {self._raw[key][0]!r}; check whether one "
            "names itself"
        )

    def _variable(self, name: str) -> str | None:
        if match := _ENVIRONMENT.fullmatch(name):
            value = os.environ.get(match["name"])
            if match["else"] and (
                value is None or (not value and ":" in match["else"])
            ):
                return match["default"]
            return value
        if name == "user.name":
            return system_user() or None
        name = RENAMED.get(name, name)
        return self._raw[name][0] if name in self._raw else None


_loaded: dict[tuple[str | None, ...], HadoopConf] = {}
_lock = threading.Lock()
os.register_at_fork(after_in_child=lambda: globals().update(_lock=threading.Lock()))


def load_conf() -> HadoopConf:
    """Returns the configuration of the environment; empty if no variable is set.

    It is read once for each set of values of these variables.

    Raises:
      StorageError: if a file of the source is missing or not a configuration.
    """
    names = (CONF_VARIABLE, *URI_VARIABLES, "HADOOP_CONF_DIR", "HADOOP_HOME")
    key = tuple(os.environ.get(name) for name in names)
    with _lock:
        if key not in _loaded:
            _loaded[key] = read_conf(*_sources())
        return _loaded[key]


def read_conf(urls: list[str], variable: str) -> HadoopConf:
    """Returns the properties of files, of which later ones override earlier ones.

    Args:
      urls: paths, or http(s) URLs.
      variable: what names them, for messages.

    Raises:
      StorageError: if one is missing or not a configuration.
    """
    loader = _Loader(variable)
    for url in urls:
        loader.load(url)
    return HadoopConf(loader.found, tuple(loader.sources), variable)


def _sources() -> tuple[list[str], str]:
    """Returns the files to read and the variable that names them."""
    if given := os.environ.get(CONF_VARIABLE):
        return _in_folder(given), CONF_VARIABLE
    uris = [os.environ.get(name, "") for name in URI_VARIABLES]
    if any(uris):
        if not all(uris):
            missing = URI_VARIABLES[uris.index("")]
            raise StorageError(
                f"cannot configure HDFS: {missing} is not set, but the other of "
                f"{' and '.join(URI_VARIABLES)} is; set both"
            )
        return uris, " and ".join(URI_VARIABLES)
    if given := os.environ.get("HADOOP_CONF_DIR"):
        return _in_folder(given), "HADOOP_CONF_DIR"
    if given := os.environ.get("HADOOP_HOME"):
        return _in_folder(os.path.join(given, "etc", "hadoop")), "HADOOP_HOME"
    return [], f"{CONF_VARIABLE}, {URI_VARIABLES[0]}, HADOOP_CONF_DIR and HADOOP_HOME"


def _in_folder(folder: str) -> list[str]:
    return [f"{folder.rstrip('/')}/{name}" for name in FILES]


class _Loader:
    """Collects the properties of files that may include others."""

    def __init__(self, variable: str) -> None:
        self._variable = variable
        self._final: set[str] = set()
        self.found: dict[str, tuple[str, str]] = {}
        self.sources: list[str] = []

    def load(self, url: str, within: tuple[str, ...] = ()) -> None:
        """Adds the properties of a file.

        Args:
          url: the file.
          within: the files that include it, the outermost first.

        Raises:
          StorageError: if it cannot be read.
        """
        shown = _shown(url)
        root = _parsed(_content(url, self._variable), shown)
        if root.tag != "configuration":
            raise StorageError(
                f"cannot read {shown!r}: found <{root.tag}> where a Hadoop "
                f"configuration has <configuration>; see what {self._variable} names"
            )
        self.sources.append(shown)
        self._take(root, (*within, url))

    def _take(self, element: ElementTree.Element, within: tuple[str, ...]) -> None:
        """Adds what is in an element of the last file of `within`."""
        for child in element:
            if child.tag == "property":
                self._add(child, _shown(within[-1]))
            elif child.tag == "configuration":
                self._take(child, within)
            elif child.tag == f"{_XINCLUDE}include":
                self._include(child, within)

    def _add(self, element: ElementTree.Element, shown: str) -> None:
        parts = dict(element.attrib)
        parts.update({child.tag: child.text or "" for child in element})
        name = parts.get("name", "").strip()
        if not name:
            raise StorageError(
                f"cannot read {shown!r}: found a <property> without a <name>"
            )
        if "value" not in parts:
            return  # as in Hadoop: such a property only describes
        name, value = RENAMED.get(name, name), parts["value"].strip()
        if name not in self._final:
            self.found[name] = (value, shown)
        elif self.found[name][0] != value:
            first = self.found[name][1]
            _log.info("%s: %s keeps its final value of %s", shown, name, first)
        if parts.get("final", "").strip() == "true":
            self._final.add(name)

    def _include(self, element: ElementTree.Element, within: tuple[str, ...]) -> None:
        href = element.get("href", "").strip()
        target = _beside(within[-1], href)
        if not href or target in within or len(within) > MAX_DEPTH:
            raise StorageError(
                f"cannot read {_shown(within[-1])!r}: it includes {href!r}, "
                + ("itself" if href else "nothing")
                + "; name another file in its <xi:include href>"
            )
        fallback = element.find(f"{_XINCLUDE}fallback")
        try:
            self.load(target, within)
        except StorageError:
            if fallback is None:
                raise
            self._take(fallback, within)


def _beside(url: str, href: str) -> str:
    """Returns what `href` means in the file `url`."""
    if _is_http(url) or _is_http(href):
        return urljoin(url, href)
    return os.path.join(os.path.dirname(url), href.removeprefix("file://"))


def _is_http(url: str) -> bool:
    return url.lower().startswith(("http://", "https://"))


def _shown(url: str) -> str:
    return http.shown(url) if _is_http(url) else url


def _content(url: str, variable: str) -> bytes:
    shown = _shown(url)
    advice = f"{variable} names it; check whether that is right"
    with storage_errors(f"read {shown!r}", advice):
        if _is_http(url):
            return call(_get, url, what="reading the configuration", url=shown)
        with open(url, "rb") as file:
            return file.read(MAX_BYTES + 1)


def _get(url: str) -> bytes:
    limits = http.Limits(CONNECT_TIMEOUT_S, allowed_s(), max_bytes=MAX_BYTES)
    try:
        return http.read(url, limits)[0]
    except http.FetchError as error:
        kind = ConnectionError if error.is_passing else OSError
        raise kind(None, str(error), http.shown(url)) from None


class _NoDoctype(ElementTree.TreeBuilder):
    def doctype(self, name: str, pubid: str | None, system: str | None) -> None:
        """Refuses: Hadoop has none, and entities can grow without end or read files."""
        raise ElementTree.ParseError("a document type, which is not allowed")


def _parsed(data: bytes, shown: str) -> ElementTree.Element:
    try:
        if len(data) > MAX_BYTES:
            raise ElementTree.ParseError(f"more than {MAX_BYTES} bytes")
        parser = ElementTree.XMLParser(target=_NoDoctype())
        parser.feed(data)
        return parser.close()
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        begin = data[:40].decode("utf-8", "replace")
        raise StorageError(
            f"cannot read {shown!r}: it is not an XML file ({error}); it begins with "
            f"{begin!r}, give Hadoop's own {' or '.join(FILES)}"
        ) from error
