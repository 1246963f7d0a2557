"""How the run was made, and how to make it again."""

import dataclasses
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from poets.config import RetrainConfig
from poets.flags import flags_below, format_value
from poets.report.findings import Evidence
from poets.storage import without_keys


@dataclass(frozen=True)
class Export:
    """An exported file or folder.

    Attributes:
      name: of the file; of a SavedModel, the last two folders.
      sha256: in hexadecimal; None for a folder.
      size_bytes: of the file, or of all files of the folder.
      max_score_difference: its largest difference to the head's scores, 0 to 1.
    """

    name: str
    sha256: str | None
    size_bytes: int | None
    max_score_difference: float | None


@dataclass(frozen=True)
class Run:
    """How the run was made.

    Attributes:
      poets: its version.
      command: words for a shell that repeat the run.
      changed: the flags that differ from the default or `output_dir`'s.
      flags: all flags; keys in URLs are masked.
      model: facts on the network.
      versions: package -> version; None for those that are not installed.
      duration_s: by phase.
      workers: number of "tasks" and of their "processes"; empty if unknown.
    """

    poets: str
    command: tuple[str, ...]
    changed: dict[str, Any]
    flags: dict[str, Any]
    model: dict[str, Any]
    versions: dict[str, str | None]
    duration_s: dict[str, float]
    workers: dict[str, int]
    exports: tuple[Export, ...]


def compute(evidence: Evidence) -> Run:
    """Returns how a run was made."""
    metrics = evidence.metrics
    defaults = {f.name: f.default for f in dataclasses.fields(RetrainConfig)}
    flags = {
        name: without_keys(value) if isinstance(value, str) else value
        for name, value in dataclasses.asdict(evidence.config).items()
    }
    output_dir = evidence.config.output_dir
    implied = defaults | (flags_below(output_dir) if output_dir else {})
    changed = {name: value for name, value in flags.items() if value != implied[name]}
    given = (f"--{name}={format_value(value)}" for name, value in changed.items())
    return Run(
        poets=metrics["poets"],
        command=("poets retrain", *map(shlex.quote, given)),
        changed=changed,
        flags=flags,
        model=dict(metrics["model"]),
        versions=dict(metrics["versions"]),
        duration_s=dict(metrics["duration_s"]),
        workers=dict(metrics.get("workers") or {}),
        exports=tuple(
            Export(
                _place(name, metrics["flags"]),
                entry.get("sha256"),
                entry.get("size_bytes"),
                entry.get("max_score_difference"),
            )
            for name, entry in metrics["exports"].items()
        ),
    )


def _place(name: str, flags: Mapping[str, Any]) -> str:
    """Returns the name of an export, with the folder above that of a SavedModel."""
    url = str(flags.get("saved_model_dir") or "").rstrip("/")
    return "/".join(url.split("/")[-2:]) if url.endswith(f"/{name}") else name
