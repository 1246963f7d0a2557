"""Parses flags from the command line and the job context, and documents them.

    {"--learning_rate": "0.1", "flip_left_right": true}  ──┐
                                                           ├──> RetrainConfig
    poets retrain --learning_rate=0.1 --flip_left_right  ──┘

All mistakes are reported at once, each unknown name with the nearest known one.
"""

import argparse
import dataclasses
import math
import os
import tempfile
from collections.abc import Container, Mapping, Sequence
from typing import Any

from poets.backbones import FAMILIES, SIDE_BY_SIDE, untrainable
from poets.config import RetrainConfig
from poets.errors import ConfigError, format_problems, json_kind, nearest
from poets.storage import join, misspelling, scheme_of, without_keys
from poets.system.command_line import bare

FIELDS = {field.name: field for field in dataclasses.fields(RetrainConfig)}


def config_from_args(
    args: Mapping[str, object], before: Sequence[str] = ()
) -> RetrainConfig:
    """Returns the config for flags and their values.

    Args:
      args: flag -> value. Leading dashes of a flag are optional. A value is text, a
        number, a boolean, or a list of one of these; None keeps the default.
      before: mistakes that were found earlier.

    Raises:
      ConfigError: names every unknown flag and every value out of range.
    """
    problems = list(before)
    values: dict[str, Any] = {}
    seen: set[str] = set()
    for given, value in args.items():
        name = bare(str(given))
        if name not in FIELDS:
            problems.append(f"unknown flag {given!r}{nearest(name, FIELDS)}")
        elif value is None:
            continue
        elif name in seen:
            problems.append(f"--{name} is given twice")
        else:
            seen.add(name)
            try:
                values[name] = parse_value(FIELDS[name], value)
            except ValueError as error:
                problems.append(f"--{name}={_shown(value)}: {error}")
    if output_dir := values.get("output_dir"):
        values = {**flags_below(output_dir), **values}
    problems += _missing(seen) + _contradictions(values)
    if problems:
        raise ConfigError(format_problems("wrong flags", problems))
    return RetrainConfig(**values)


def outputs_below(folder: str) -> dict[str, str]:
    """Returns the flags of a run's results, all in one folder."""
    return {
        "output_graph": join(folder, "retrained_graph.pb"),
        "output_labels": join(folder, "retrained_labels.txt"),
        "saved_model_dir": join(folder, "saved_models", "1"),
        "checkpoint_path": join(folder, "checkpoint"),
        "intermediate_output_graphs_dir": join(folder, "intermediate/"),
        "summaries_dir": join(folder, "training_summaries"),
    }


def flags_below(output_dir: str) -> dict[str, str]:
    """Returns the flags that `--output_dir` sets.

    Other runs use the features and networks, too: they go to the user's cache folder.
    If the results are on a remote storage, the features are beside them, for other
    machines.
    """
    cache = _cache_dir()
    is_remote = scheme_of(output_dir) not in ("", "file")
    return outputs_below(output_dir) | {
        "bottleneck_dir": join(output_dir if is_remote else cache, "bottlenecks"),
        "model_dir": join(cache, "models"),
    }


def _cache_dir() -> str:
    """Returns POETS_CACHE, or the folder of the XDG Base Directory Specification."""
    if given := os.environ.get("POETS_CACHE"):
        return given
    home = os.path.expanduser("~")
    if home == "~":  # the user has no home
        home = tempfile.gettempdir()
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(home, ".cache")
    return os.path.join(base, "poets")


def parse_value(field: dataclasses.Field[Any], value: object) -> Any:
    """Returns `value` in the field's type.

    Raises:
      ValueError: if it is invalid; the text lacks the flag's name.
    """
    if isinstance(value, list | tuple):
        if len(value) != 1:
            raise ValueError(f"takes one value, found a list of {len(value)}")
        value = value[0]
    if value is None or isinstance(value, dict | list | tuple):
        raise ValueError(f"takes one value, found {json_kind(value)}")
    if field.type is bool:
        return _parse_bool(value)
    if isinstance(value, bool):
        raise ValueError(f"takes {_kind(field)}, found {str(value).lower()}")
    if field.type is str:
        return _parse_name(field, str(value))
    return _parse_number(field, value)


def format_value(value: object) -> str:
    """Returns a flag's value as text that `parse_value` reads."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _parse_bool(value: object) -> bool:
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    if text in ("true", "on", "false", "off"):
        return text in ("true", "on")
    raise ValueError("takes true or false, on or off")


def _parse_name(field: dataclasses.Field[Any], text: str) -> str:
    if field.metadata.get("required") and not text.strip():
        raise ValueError("may not be empty")
    choices, shown = names_of(field)
    if not choices:
        if problem := misspelling(text):
            raise ValueError(problem)
        return text
    if field.name != "architecture":
        return _choice(text, choices, shown)
    names = [_choice(each, choices, shown) for each in text.split(SIDE_BY_SIDE)]
    if len({*names}) < len(names):
        raise ValueError("a network is named twice")
    return SIDE_BY_SIDE.join(names)


def _choice(text: str, choices: Sequence[str], shown: Sequence[str]) -> str:
    for choice in choices:
        if text.lower() == choice.lower():
            return choice
    known = ", ".join(shown)
    raise ValueError(f"no such name{nearest(text.lower(), choices)}; known: {known}")


def names_of(field: dataclasses.Field[Any]) -> tuple[Sequence[str], Sequence[str]]:
    """Returns the names that a flag accepts, and how to show them; () for any text."""
    if field.name == "architecture":
        rows = FAMILIES.values()
        names = [name for row in rows for name in row.names]
        return names, [row.shown for row in rows if row.shown]
    choices = field.metadata.get("choices", ())
    return choices, choices


def _parse_number(field: dataclasses.Field[Any], value: Any) -> int | float:
    rules, is_int = field.metadata, field.type is int
    number: int | float
    try:
        exact = is_int and isinstance(value, str | int)
        number = int(value) if exact else float(value)
        is_valid = math.isfinite(number) and (not is_int or number == int(number))
    except (ValueError, OverflowError):
        is_valid = False
    if not is_valid:
        raise ValueError(f"takes {_kind(field)}")
    number = int(number) if is_int else number
    if rules.get("or_all") and number == -1:
        return number
    or_all = " (or -1 for all)" if rules.get("or_all") else ""
    if "at_least" in rules and number < rules["at_least"]:
        raise ValueError(f"must be at least {rules['at_least']}{or_all}")
    if "at_most" in rules and number > rules["at_most"]:
        raise ValueError(f"must be at most {rules['at_most']}")
    if "above" in rules and number <= rules["above"]:
        raise ValueError(f"must be above {rules['above']}")
    return number


def _missing(given: Container[str]) -> list[str]:
    return [
        f"--{name} is required: {field.metadata['help']}"
        for name, field in FIELDS.items()
        if field.metadata.get("required") and not field.default and name not in given
    ]


def _contradictions(values: Mapping[str, Any]) -> list[str]:
    """Returns the contradictions between flags that are valid one by one."""
    config = RetrainConfig(**values)
    problems = []
    held_out = config.testing_percentage + config.validation_percentage
    if held_out >= 100:
        problems.append(
            f"--testing_percentage and --validation_percentage add up to {held_out}, "
            "which leaves nothing to train on"
        )
    outputs = [config.output_graph, config.output_labels]
    if outputs[0] == outputs[1]:
        problems.append(f"--output_graph and --output_labels are both {outputs[0]!r}")
    if config.tfhub_module and "architecture" in values:
        problems.append(
            f"--tfhub_module={config.tfhub_module!r} and "
            f"--architecture={config.architecture!r} are both given: leave one out"
        )
    if config.fine_tune_steps and (why := untrainable(config)):
        problems.append(
            f"--architecture={config.architecture!r} cannot be fine-tuned: {why}, or "
            "leave --fine_tune_steps out"
        )
    return problems


def _kind(field: dataclasses.Field[Any]) -> str:
    return {int: "a whole number", float: "a number", str: "text"}[field.type]  # type: ignore[index]


def _shown(value: object) -> str:
    text = without_keys(str(value))
    return text if len(text) <= 80 else f"{text[:77]}..."


def flags_of(args: argparse.Namespace) -> tuple[dict[str, object], list[str]]:
    """Returns the flags and the mistakes of a command line, for `config_from_args`."""
    given = {name: value for name, value in vars(args).items() if name in FIELDS}
    problems = list(args.problems)
    if args.folder is not None:
        if "image_dir" in given:
            problems.append(
                f"the folder is given twice: {args.folder!r} and "
                f"--image_dir={given['image_dir']}"
            )
        given["image_dir"] = args.folder
    return given, problems


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Adds every flag to a parser; values stay text until `config_from_args`."""
    parser.set_defaults(problems=())
    parser.add_argument(
        "folder", nargs="?", metavar="FOLDER", help="the same as --image_dir"
    )
    groups: dict[str, argparse._ArgumentGroup] = {}
    for name, field in FIELDS.items():
        title = field.metadata["group"]
        if title not in groups:
            groups[title] = parser.add_argument_group(title)
        text = field.metadata["help"].replace("%", "%%")
        default = "on" if field.default is True else repr(field.default)
        shown = f"{text} (default: {default})" if field.default else text
        form: dict[str, Any] = {"metavar": "X"}
        if field.type is bool:
            form = {"metavar": "BOOL", "nargs": "?", "const": True}
        groups[title].add_argument(
            f"--{name}", default=argparse.SUPPRESS, help=shown, **form
        )


def flags_markdown() -> str:
    """Returns the table of all flags for the documents (`make docs`)."""
    lines = [
        "# Flags",
        "",
        "The flags of `poets retrain`, and of `args` in the DC/OS job context.",
        "`make docs` generates this page from `poets/config.py`.",
    ]
    title = None
    for name, field in FIELDS.items():
        if field.metadata["group"] != title:
            title = field.metadata["group"]
            lines += ["", f"## {title.capitalize()}", ""]
            lines += ["| flag | default | what |", "|---|---|---|"]
        shown = f"`{field.default}`"
        if field.type is bool:
            shown = "on" if field.default else "off"
        if field.default == "":
            shown = "*required*" if field.metadata.get("required") else "empty"
        text = field.metadata["help"]
        if known := names_of(field)[1]:
            text += f": {', '.join(f'`{name}`' for name in known)}"
        lines.append(f"| `--{name}` | {shown} | {text} |")
    return "\n".join(lines) + "\n"
