"""Summarizes a results folder as text.

    listing ──> metrics.json, labels, skipped images ──> Results ──> format_results

The files may come from any program, so metrics.json is validated against `FORM` first.
Absent values are left out of the text. The original `retrain.py` writes only a graph
and labels; a note in the text says that accuracy is unknown then.
"""

import csv
import io
import json
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from poets.errors import ModelError
from poets.formats import FORMATS
from poets.report import METRICS, REPORT, SKIPPED, SPLIT
from poets.report.labels import labels_files
from poets.report.listing import Entry
from poets.report.text import pad, percent, printable, width
from poets.storage import read_url

MAX_METRICS_BYTES = 256 << 20  # a confusion matrix of 1,000 labels takes about 4 MB
MAX_TEXT_BYTES = 64 << 20  # labels, list of skipped images
MAX_ROWS = 30  # labels in the table; if there are more, those with the least recall
MAX_REASONS = 5
MAX_CONFUSIONS = 5
SPLITS = ("train", "validation", "test")

TEXT, NUMBER = "text", "a number"
SHARE = {"n": NUMBER, "correct": NUMBER, "accuracy": NUMBER, "interval_95": [NUMBER]}
ANSWERED = {"coverage": NUMBER, "accuracy": NUMBER}
# The fields of metrics.json that are used (docs/results.md); "*" is any key.
FORM = {
    "poets": TEXT,
    "finished": TEXT,
    "seed": NUMBER,
    "model": {
        "backbone": TEXT,
        "image_size_px": NUMBER,
        "bottleneck_size": NUMBER,
        "final_tensor_name": TEXT,
    },
    "labels": [{"label": TEXT, "train": NUMBER, "validation": NUMBER, "test": NUMBER}],
    "images": {"*": NUMBER},
    "split": {"by": TEXT, "folders": {"*": TEXT}},
    "accuracy": {"*": SHARE},
    "per_label": [{"label": TEXT, "precision": NUMBER, "recall": NUMBER}],
    "confusion": [[NUMBER]],
    "calibration": {"temperature": NUMBER},
    "reject": {"wanted_accuracy": NUMBER, "threshold": NUMBER, "test": ANSWERED},
    "flags": {"output_labels": TEXT, "saved_model_dir": TEXT, "summaries_dir": TEXT},
    "duration_s": {"*": NUMBER},
    "notes": [TEXT],
}


@dataclass(frozen=True)
class Results:
    """The content of a results folder; `metrics` is empty without a metrics.json.

    `skipped` maps each reason to the number of images left out for it; `files` are
    pairs of a path or URL and a description.
    """

    metrics: Mapping[str, Any]
    labels: Sequence[str]
    skipped: Mapping[str, int]
    files: Sequence[tuple[str, str]]
    notes: Sequence[str]


def read_results(entries: Sequence[Entry]) -> Results:
    """Reads the results of a run from the listing of its folder.

    Raises:
      StorageError: if a file cannot be read.
      ModelError: if metrics.json or skipped_images.csv is not in a run's format.
    """
    files = {entry.name: entry for entry in entries if not entry.is_folder}
    metrics: Mapping[str, Any] = {}
    if METRICS in files:
        metrics = _read_metrics(files[METRICS])
        notes = metrics.get("notes") or ()
    elif any(name.endswith(".pb") for name in files):
        notes = [
            f"no {METRICS}: these are results of the original retrain.py, or of a run "
            "that has not ended; accuracy is not known here"
        ]
    else:
        notes = [
            f"no {METRICS} and no graph: this is not a results folder, or its run has "
            "not ended; give the folder of --output_graph"
        ]
    labels_name = _labels_name(metrics, files)
    labels = [row.get("label") or "" for row in metrics.get("labels") or ()]
    if not labels and labels_name:
        lines = _read(files[labels_name], MAX_TEXT_BYTES).splitlines()
        labels = [line for line in lines if line.strip()]
    skipped = _count_skipped(files[SKIPPED]) if SKIPPED in files else {}
    found = _files(entries, metrics, labels_name)
    return Results(metrics, labels, skipped, found, notes)


def format_results(results: Results) -> str:
    """Returns the summary that `poets results` prints below the listing."""
    metrics = results.metrics
    shown = ", ".join(results.labels[:MAX_ROWS])
    more = ", ..." if len(results.labels) > MAX_ROWS else ""
    durations = (metrics.get("duration_s") or {}).items()
    facts = [
        ("model", _model(metrics)),
        ("labels", f"{len(results.labels)}: {shown}{more}" if results.labels else ""),
        ("images", _images(metrics.get("images") or {}, results.skipped)),
        ("split", _split(metrics.get("split") or {})),
        *_accuracies(metrics.get("accuracy") or {}),
        ("reject", _reject(metrics.get("reject") or {})),
        ("time", ", ".join(f"{phase} {s:.1f} s" for phase, s in durations if s)),
    ]
    longest = max((width(path) for path, _ in results.files), default=0)
    blocks = [
        [f"{name:<11} {text}" for name, text in facts if text],
        _label_table(metrics),
        ["most often mixed up (test)", *_confusions(metrics)],
        ["files", *(f"  {pad(path, longest)}  {what}" for path, what in results.files)],
        ["notes", *(f"  {note}" for note in results.notes)],
    ]
    blocks[2:] = [block for block in blocks[2:] if len(block) > 1]  # more than a title
    return "\n\n".join(
        "\n".join(printable(line) for row in block for line in row.split("\n"))
        for block in blocks
        if block
    )


def _read_metrics(entry: Entry) -> Mapping[str, Any]:
    """Returns the content of a metrics.json, validated against `FORM`."""
    try:
        metrics = json.loads(_read(entry, MAX_METRICS_BYTES))
    except (ValueError, RecursionError) as error:
        problem = f"it is not JSON ({error})"
    else:
        problem = _mismatch(metrics, FORM)
        if not problem:
            return metrics
    raise _unreadable(entry, problem, "run retrain again, or ")


def _count_skipped(entry: Entry) -> dict[str, int]:
    """Returns the number of images left out for each reason."""
    table = io.StringIO(_read(entry, MAX_TEXT_BYTES), newline="")
    try:
        # a plain dict, as `asdict` does not copy a Counter rightly
        return dict(Counter(row.get("reason") or "?" for row in csv.DictReader(table)))
    except csv.Error as error:
        raise _unreadable(entry, f"it is not CSV ({error})") from error


def _mismatch(value: Any, form: Any, place: str = "") -> str:
    """Describes the first value that does not match its form, "" if all do.

    null counts as absent.
    """
    if isinstance(form, dict):
        if not isinstance(value, dict):
            return f"{place!r} is not an object" if place else "it is not a JSON object"
        parts = [
            (value[key], form.get(key) or form["*"], f"{place}.{key}".lstrip("."))
            for key in value
            if (key in form or "*" in form) and value[key] is not None
        ]
    elif isinstance(form, list):
        if not isinstance(value, list):
            return f"{place!r} is not a list"
        parts = [(item, form[0], f"{place}[{k}]") for k, item in enumerate(value)]
    else:
        kind = str if form == TEXT else (int, float)
        right = isinstance(value, kind) and not isinstance(value, bool)
        return "" if right else f"{place!r} is {value!r:.40}, not {form}"
    return next(filter(None, (_mismatch(*part) for part in parts)), "")


def _read(entry: Entry, max_bytes: int) -> str:
    if entry.size_bytes > max_bytes:
        found = f"it has {entry.size_bytes:,} bytes"
        raise _unreadable(entry, f"{found}, and a run writes at most {max_bytes:,}")
    return read_url(entry.path).decode("utf-8-sig", "replace")


def _unreadable(entry: Entry, problem: str, advice: str = "") -> ModelError:
    advice += "move the file away to see the rest"
    return ModelError(f"cannot read {entry.path!r}: {problem}; {advice}")


def _labels_name(metrics: Mapping[str, Any], names: Collection[str]) -> str:
    """Returns the name of the labels file in the folder, "" if it is not certain."""
    output_labels = (metrics.get("flags") or {}).get("output_labels") or ""
    name = output_labels.rpartition("/")[2]
    if name in names:
        return name
    graphs = [name for name in names if name.endswith(".pb")]
    found = labels_files(names, graphs[0]) if len(graphs) == 1 else []
    return found[0] if len(found) == 1 else ""


def _files(
    entries: Sequence[Entry], metrics: Mapping[str, Any], labels_name: str
) -> list[tuple[str, str]]:
    """Returns paths and descriptions of the run's files, in the listing's order."""
    flags = metrics.get("flags") or {}
    known = {
        METRICS: "figures of the run",
        REPORT: "the run as a page, with pictures",
        SPLIT: "use and prediction of each image",
        SKIPPED: "images left out, with the reason",
        labels_name: "labels, in the order of the outputs",
        **{suffix: row.title for row in FORMATS.values() for suffix in row.suffixes},
    }
    flagged = {row.flag: row.title for row in FORMATS.values() if row.marker}
    flagged["summaries_dir"] = "for tensorboard --logdir"
    folders = {
        str(flags.get(flag) or "").rstrip("/"): flagged[flag] for flag in flagged
    }
    folders.pop("", None)
    here = {url.rpartition("/")[2]: url for url in folders}
    files = []
    for entry in entries:
        if entry.is_folder:
            what = folders.pop(here.get(entry.name, ""), "")
        else:
            suffix = "." + entry.name.rpartition(".")[2]
            what = known.get(entry.name) or known.get(suffix, "")
        if what:
            files.append((entry.path, what))
    return files + list(folders.items())


def _model(metrics: Mapping[str, Any]) -> str:
    model = metrics.get("model") or {}
    facts = (
        (model.get("backbone"), "{}"),
        (model.get("image_size_px"), "{} px"),
        (model.get("bottleneck_size"), "{:,} features"),
        (model.get("final_tensor_name"), "answers at {}:0"),
        (metrics.get("seed"), "seed {}"),
        (metrics.get("finished"), "finished {}"),
        (metrics.get("poets"), "poets {}"),
    )
    return ", ".join(form.format(value) for value, form in facts if value is not None)


def _images(images: Mapping[str, int], skipped: Mapping[str, int]) -> str:
    facts = [f"{n:,} {name}" for name, n in images.items() if n is not None]
    reasons = Counter(skipped).most_common(MAX_REASONS)
    lines = [", ".join(facts) or f"{sum(skipped.values()):,} skipped" * bool(skipped)]
    lines += [f"  {n:,} x {reason}" for reason, n in reasons]
    if len(skipped) > MAX_REASONS:
        lines.append(f"  other reasons in {SKIPPED}")
    return f"\n{'':<12}".join(lines)


def _split(split: Mapping[str, Any]) -> str:
    """Describes how the images were split: by hash, or by the user's folders."""
    if split.get("by") == "hash":
        return "by hash of names and contents"
    folders = split.get("folders") or {}
    if split.get("by") != "folders" or not folders:
        return ""
    shown = ", ".join(
        f"{use} is {name}/"
        for use in SPLITS
        for name, its_use in folders.items()
        if its_use == use
    )
    carved = [name for name in SPLITS if name not in folders.values()]
    taken = f"; {' and '.join(carved)} taken from train" if carved else ""
    return f"the user's own: {shown}{taken}"


def _accuracies(accuracy: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Returns name and text of each split that has an accuracy, test first."""
    facts = []
    for split in reversed(SPLITS):
        found = accuracy.get(split) or {}
        if found.get("accuracy") is None:
            continue
        text = f"{percent(found['accuracy']):>6}"
        if len(interval := found.get("interval_95") or ()) == 2:
            text += f"  95 % interval {' to '.join(map(percent, interval))}"
        if None not in (found.get("n"), found.get("correct")):
            text += f"  ({found['correct']:,} of {found['n']:,})"
        facts.append((split, text))
    return facts


def _reject(reject: Mapping[str, Any]) -> str:
    """Describes the reject threshold, as the test confirms it."""
    threshold, wanted = reject.get("threshold"), reject.get("wanted_accuracy")
    if threshold is not None:
        test = reject.get("test") or {}
        return (
            f"scores below {percent(threshold)}; the test answers "
            f"{percent(test.get('coverage'))}, of which "
            f"{percent(test.get('accuracy'))} are right"
        )
    if wanted is None:
        return ""
    return f"no threshold reaches an accuracy of {percent(wanted)} on validation"


def _label_table(metrics: Mapping[str, Any]) -> list[str]:
    """Returns a row per label: images of each split, precision, recall."""
    judged = {row.get("label"): row for row in metrics.get("per_label") or ()}
    rows = [
        row | judged.get(row.get("label"), {}) for row in metrics.get("labels") or ()
    ]
    if not rows:
        return []
    title = []
    if len(rows) > MAX_ROWS:
        title = [f"the {MAX_ROWS} of {len(rows)} labels with the least recall"]
        rows.sort(key=lambda row: -1.0 if row.get("recall") is None else row["recall"])
        rows = rows[:MAX_ROWS]
    table = [["label", *SPLITS, "precision", "recall"]]
    for row in rows:
        counts = ("-" if row.get(s) is None else f"{row[s]:,}" for s in SPLITS)
        shares = (percent(row.get(name)) for name in ("precision", "recall"))
        table.append([printable(row.get("label") or ""), *counts, *shares])
    longest = max(width(name) for name, *_ in table)
    return title + [
        "  ".join([pad(name, longest), *(f"{cell:>10}" for cell in cells)])
        for name, *cells in table
    ]


def _confusions(metrics: Mapping[str, Any]) -> list[str]:
    """Returns the pairs of labels that were confused most often in the test."""
    labels = [row.get("label") for row in metrics.get("labels") or ()]
    pairs = [
        (count, f"{label} taken for {other}", sum(counts))
        for label, counts in zip(labels, metrics.get("confusion") or (), strict=False)
        for other, count in zip(labels, counts, strict=False)
        if count and other != label
    ]
    pairs.sort(key=lambda pair: (-pair[0], pair[1]))
    return [f"  {text}: {count} of {n}" for count, text, n in pairs[:MAX_CONFUSIONS]]
