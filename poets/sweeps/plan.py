"""Plans a sweep, and reports every mistake in its flags before any work.

    flags of all ──┐
    --grid, --runs ┴─> Sweep: the combinations, each a RetrainConfig with a name

Only flags that change the classifier may vary. Flags that change the images or their
split may not: accuracies on different validation images cannot be compared.
"""

import hashlib
import itertools
import json
import math
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from poets.config import RetrainConfig
from poets.errors import ConfigError, format_problems, nearest
from poets.flags import FIELDS, config_from_args, flags_below, format_value, parse_value
from poets.storage import join
from poets.sweeps.grid import SUMMARIES, parse_axis, read_runs, run_name
from poets.system.command_line import bare

VARY = (
    "architecture",
    "tfhub_module",
    "input_size_px",
    "how_many_training_steps",
    "learning_rate",
    "train_batch_size",
    "eval_step_interval",
    "patience",
    "class_weights",
    "head",
    "seed",
    "flip_left_right",
    "random_crop",
    "random_scale",
    "random_brightness",
    "augmentations",
)
"""The flags that change the classifier of the same images."""

OTHER_IMAGES = (
    "image_dir",
    "labels_csv",
    "testing_percentage",
    "validation_percentage",
    "split",
    "split_seed",
    "group_near_duplicates",
)
MAX_RUNS = 100_000


@dataclass(frozen=True)
class Combination:
    """One combination.

    Attributes:
      name: of its files; unique in the sweep.
      chosen: the flags that it sets and their values, in the order of the flags' table.
      config: all its flags.
    """

    name: str
    chosen: Mapping[str, Any]
    config: RetrainConfig

    def value(self, flag: str) -> Any:
        """Returns a flag's value; "" for `architecture` with a `tfhub_module`."""
        if flag == "architecture" and self.config.tfhub_module:
            return ""
        return getattr(self.config, flag)

    @property
    def backbone_key(self) -> tuple[str, str, int]:
        """The settings that runs of one backbone share."""
        config = self.config
        name = "" if config.tfhub_module else config.architecture
        return name, config.tfhub_module, config.input_size_px


@dataclass(frozen=True)
class Sweep:
    """All combinations.

    Attributes:
      output_dir: the folder of the results, in any storage.
      base: the flags of all runs; its outputs are those of the best run.
      varied: the flags that any run sets, in the order of the flags' table.
      runs: in the order given.
    """

    output_dir: str
    base: RetrainConfig
    varied: tuple[str, ...]
    runs: tuple[Combination, ...]

    @property
    def details(self) -> str:
        """A digest that separates sweeps of the same base."""
        text = json.dumps([self.output_dir, *(run.name for run in self.runs)])
        return hashlib.sha256(text.encode()).hexdigest()


def plan_sweep(
    args: Mapping[str, object],
    grid: Sequence[str],
    runs_url: str = "",
    before: Sequence[str] = (),
) -> Sweep:
    """Returns the sweep of some flags, a grid and a list of combinations.

    Args:
      args: flag -> value, as for `poets retrain`; `output_dir` is required, and
        outputs that are not given go to `best` below it.
      grid: FLAG=V1,V2,... each.
      runs_url: a list of combinations, "" for no list; each line is combined with
        the whole grid.
      before: problems found before, for the message.

    Raises:
      ConfigError: lists every mistake in all of them.
      StorageError: if the list cannot be read.
    """
    given = {bare(flag): value for flag, value in args.items() if value is not None}
    output_dir = str(given.pop("output_dir", ""))
    problems = [] if output_dir else ["--output_dir is required: folder for results"]
    args = {**_outputs(output_dir), **given}
    base = None
    try:
        base = config_from_args(args, before)
    except ConfigError as error:
        problems.append(str(error))
    axes = _axes(grid, args, problems)
    lines = _lines(runs_url, axes, problems)
    if not grid and not runs_url:
        problems.append(
            "nothing varies; give --grid learning_rate=0.01,0.1 or --runs FILE"
        )
    total = len(lines) * math.prod(len(values) for values in axes.values())
    if total > MAX_RUNS:
        problems.append(
            f"{total:,} combinations are more than {MAX_RUNS:,}; give fewer values"
        )
    if base and base.fine_tune_steps:
        problems.append(
            "a sweep trains heads only; leave --fine_tune_steps out, and fine-tune "
            "the best combination with poets retrain"
        )
    if base is None or problems:
        raise ConfigError(format_problems("the sweep cannot start", problems))
    runs = _runs(args, axes, lines)
    if base.group_near_duplicates and len({run.backbone_key for run in runs}) > 1:
        raise ConfigError(
            "the sweep cannot start: with --group_near_duplicates the split depends on "
            "the network, and accuracies on other validation images cannot be "
            "compared; run a sweep for each network"
        )
    varied = {flag for run in runs for flag in run.chosen}
    ordered = tuple(flag for flag in FIELDS if flag in varied)
    return Sweep(output_dir, base, ordered, tuple(runs))


def _outputs(output_dir: str) -> dict[str, str]:
    """Returns the flags that keep everything below one folder."""
    return {
        **flags_below(join(output_dir, "best")),
        "bottleneck_dir": flags_below(output_dir)["bottleneck_dir"],
        "intermediate_output_graphs_dir": join(output_dir, "intermediate/"),
        "summaries_dir": join(output_dir, SUMMARIES),
    }


def _axes(
    grid: Sequence[str], args: Mapping[str, object], problems: list[str]
) -> dict[str, list[Any]]:
    """Returns flag -> its values in its own type; appends mistakes to `problems`."""
    axes: dict[str, list[Any]] = {}
    for text in grid:
        try:
            flag, texts = parse_axis(text)
        except ConfigError as error:
            problems.append(str(error))
            continue
        if refusal := _refusal(flag):
            problems.append(f"--grid={text!r}: {refusal}")
            continue
        if flag in axes:
            problems.append(f"--grid={text!r}: {flag} already has a --grid")
        if flag in args:
            problems.append(f"--grid={text!r}: --{flag} is given, too; leave one out")
        axes[flag] = []
        for each in texts:
            try:
                value = parse_value(FIELDS[flag], each)
            except ValueError as error:
                problems.append(f"--grid={text!r}: {each}: {error}")
                continue
            if value in axes[flag]:
                problems.append(f"--grid={text!r}: {each} is given twice")
            axes[flag].append(value)
    return axes


def _lines(
    url: str, axes: Container[str], problems: list[str]
) -> list[tuple[str, dict[str, Any]]]:
    """Returns the source line of each listed combination, and its flags and values."""
    if not url:
        return [("", {})]
    try:
        found = read_runs(url)
    except ConfigError as error:
        problems.append(str(error))
        return []
    lines = []
    for number, args in found:
        place, values = f"line {number}", {}
        for flag, given in args.items():
            refusal = _refusal(flag)
            if not refusal and flag in axes:
                refusal = "has a --grid, too; leave one out"
            try:
                values[flag] = refusal or parse_value(FIELDS[flag], given)
            except ValueError as error:
                refusal = str(error)
            if refusal:
                problems.append(f"--runs={url!r}: {place}: {flag}={given}: {refusal}")
        lines.append((place, values))
    return lines


def _refusal(flag: str) -> str:
    """Returns the reason why a flag may not vary, or ""."""
    if flag not in FIELDS:
        return f"no flag {flag!r}{nearest(flag, FIELDS)}"
    if flag in VARY:
        return ""
    if flag in OTHER_IMAGES:
        return (
            f"--{flag} may not vary: accuracies on other validation images cannot be "
            "compared; run a sweep for each value"
        )
    return (
        f"--{flag} may not vary: it does not change the classifier; these flags do: "
        f"{', '.join(VARY)}"
    )


def _runs(
    args: Mapping[str, object],
    axes: Mapping[str, Sequence[Any]],
    lines: Sequence[tuple[str, Mapping[str, Any]]],
) -> list[Combination]:
    """Returns every line combined with the whole grid.

    Raises ConfigError if combinations contradict themselves, or are the same.
    """
    runs: list[Combination] = []
    problems: dict[str, None] = {}  # an ordered set: many runs have the same problem
    seen: dict[RetrainConfig, str] = {}
    for place, values in lines:
        for combined in itertools.product(*axes.values()):
            given = {**values, **dict(zip(axes, combined, strict=True))}
            chosen = {flag: given[flag] for flag in FIELDS if flag in given}
            try:
                config = config_from_args({**_instead(args, chosen), **chosen})
            except ConfigError as error:
                problems[f"{place}: {error}" if place else str(error)] = None
                continue
            name = run_name(
                {flag: format_value(value) for flag, value in chosen.items()}
            )
            if config in seen:
                problems[f"{place or name} is the same as {seen[config]}"] = None
            seen[config] = place or name
            prefix = config.intermediate_output_graphs_dir
            config = replace(
                config,
                summaries_dir=join(config.summaries_dir, name),
                intermediate_output_graphs_dir=f"{prefix}{name}/",
            )
            runs.append(Combination(name, chosen, config))
    if problems:
        raise ConfigError(format_problems("the sweep cannot start", list(problems)))
    return runs


def _instead(args: Mapping[str, object], chosen: Container[str]) -> dict[str, object]:
    """Returns the common flags, without the backbone if a run sets its own."""
    pair = ("architecture", "tfhub_module")
    drop = pair if any(flag in chosen for flag in pair) else ()
    return {flag: value for flag, value in args.items() if flag not in drop}
