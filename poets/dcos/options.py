r"""Reads an options file, merged over the package's defaults.

    {"service": {"job_name": "poets",            ┐
                 "job_context": "{\"args\": …}"}, │──> Options["service.job_name"]
     "worker": {"count": 1, "cpus": 4.0}}        ┘

Settings override the file for one run: `service.job_url=…` replaces an option, and
`image_dir=…` replaces a flag inside the string-encoded `service.job_context`.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from poets.dcos.schema import SCHEMA
from poets.errors import ConfigError, format_problems, json_kind, nearest
from poets.system.command_line import bare

KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
}


@dataclass(frozen=True)
class Options:
    """The content of an options file.

    Attributes:
      source: the file's name, for messages.
      given: path -> value of the options in the file.
      unknown: paths in the file that are not options of the package.
      misshapen: path -> problem, for values in place of a group of options.
    """

    source: str
    given: dict[str, Any]
    unknown: list[str] = field(default_factory=list)
    misshapen: dict[str, str] = field(default_factory=dict)

    def __getitem__(self, path: str) -> Any:
        """Returns the option's value, or its default."""
        return self.given.get(path, SCHEMA[path].default)


def read_options(
    path: str, settings: Iterable[str] = (), args: Iterable[str] = ()
) -> Options:
    """Reads an options file.

    Args:
      path: a local JSON file.
      settings: `service.job_url=value`, each replaces one option.
      args: `image_dir=value`, each replaces one flag in `service.job_context`.

    Raises:
      ConfigError: if the file is not a JSON object, a setting names no option, or
        `service.job_context` cannot take a flag.
    """
    options = flatten(_load(path), source=path)
    problems = []
    for apply, texts in ((_set_option, settings), (_set_arg, args)):
        for text in texts:
            try:
                apply(options.given, text)
            except ConfigError as error:
                problems.append(str(error))
    if problems:
        raise ConfigError(format_problems(f"cannot change {path!r}", problems))
    return options


def flatten(document: dict[str, Any], source: str = "options") -> Options:
    """Returns the options in a parsed options file."""
    options = Options(source, {})
    _walk(document, "", options)
    return options


def is_kind(value: object, kind: str) -> bool:
    """Returns whether an option of this kind takes a JSON value."""
    return isinstance(value, KINDS[kind]) and (
        kind == "boolean" or not isinstance(value, bool)
    )


def parse_context(text: object) -> dict[str, Any]:
    """Returns the object in `service.job_context`; `{}` for an empty text or `null`.

    Raises:
      ConfigError: if it is not text, not JSON (with the position) or not an object.
    """
    if not isinstance(text, str):
        raise ConfigError(
            f"takes text that holds JSON, found {json_kind(text)}; put it in quotes "
            r'and escape those inside, as "{\"args\": {}}"'
        )
    if not text.strip():
        return {}
    try:
        context = json.loads(text)
    except ValueError as error:
        raise ConfigError(
            f"is not JSON: {_position(error, text)}; the option is text that holds "
            "JSON, with its inner quotes escaped"
        ) from None
    if context is None:
        return {}
    if not isinstance(context, dict):
        raise ConfigError(
            f'holds {json_kind(context)}; give a JSON object, as {{"args": {{}}}}'
        )
    return context


def _load(path: str) -> dict[str, Any]:
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(
            f"cannot read the options file {path!r}: {error.strerror}"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"cannot read the options file {path!r}: byte {error.start} is not UTF-8"
        ) from error
    try:
        document = json.loads(text, object_pairs_hook=_unique)
    except ValueError as error:
        raise ConfigError(
            f"the options file {path!r} is not JSON: {_position(error, text)}"
        ) from error
    if not isinstance(document, dict):
        raise ConfigError(
            f"the options file {path!r} holds {json_kind(document)}; give a JSON "
            'object, as {"service": {}, "worker": {}}'
        )
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Builds a JSON object; refuses duplicate keys, which `json` silently merges."""
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{name!r} is given twice in one object")
    return dict(pairs)


def _position(error: ValueError, text: str) -> str:
    if not isinstance(error, json.JSONDecodeError):
        return str(error)
    near = text[max(0, error.pos - 20) : error.pos + 20]
    return (
        f"{error.msg.lower()} at line {error.lineno}, column {error.colno}, "
        f"near {near!r}"
    )


def _walk(group: dict[str, Any], prefix: str, options: Options) -> None:
    for name, value in group.items():
        path = prefix + name
        if path in SCHEMA:
            options.given[path] = value
        elif not any(known.startswith(f"{path}.") for known in SCHEMA):
            options.unknown.append(path)
        elif isinstance(value, dict):
            _walk(value, f"{path}.", options)
        else:
            options.misshapen[path] = (
                f"takes an object with options in it, found {json_kind(value)}"
            )


def _set_option(given: dict[str, Any], setting: str) -> None:
    path, equals, text = setting.partition("=")
    if not equals:
        raise ConfigError(
            f"{setting!r} has no value; write it as service.job_name=poets"
        )
    if path not in SCHEMA:
        raise ConfigError(f"unknown option {path!r}{nearest_option(path)}")
    value = _parse(text)
    given[path] = value if is_kind(value, SCHEMA[path].kind) else text


def _set_arg(given: dict[str, Any], setting: str) -> None:
    flag, equals, text = setting.partition("=")
    if not equals:
        raise ConfigError(f"{setting!r} has no value; write it as image_dir=/photos")
    path = "service.job_context"
    try:
        context = parse_context(given.get(path, ""))
    except ConfigError as error:
        raise ConfigError(f"cannot set {setting!r}: {path} {error}") from error
    args = context.get("args") or {}
    if not isinstance(args, dict):
        raise ConfigError(
            f"cannot set {setting!r}: {path} has {json_kind(args)} for 'args'; "
            "give an object of flags and values"
        )
    name = bare(flag)
    kept = {known: value for known, value in args.items() if bare(known) != name}
    context["args"] = {**kept, f"--{name}": _parse(text)}
    given[path] = json.dumps(context)


def _parse(text: str) -> Any:
    """Parses a text as JSON; returns the text itself if it is not JSON."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def nearest_option(path: str) -> str:
    """Returns " (did you mean 'cpus'?)" if an option resembles an unknown one."""
    group, _, name = path.rpartition(".")
    siblings = {p.rpartition(".")[2] for p in SCHEMA if p.rpartition(".")[0] == group}
    if hint := nearest(name, sorted(siblings)):
        return hint
    elsewhere = [p for p in SCHEMA if p.rpartition(".")[2] == name]
    if len(elsewhere) == 1:
        return f" (did you mean {elsewhere[0]!r}?)"
    return nearest(path, SCHEMA)
