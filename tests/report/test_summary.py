"""What is reported of a results folder, whole, old, or broken."""

import json

import pytest

from poets.errors import ModelError
from poets.report.listing import list_folder
from poets.report.summary import MAX_ROWS, format_results, read_results


def metrics(**changes):
    accuracy = {
        "n": 430,
        "correct": 300,
        "accuracy": 0.698,
        "interval_95": [0.652, 0.74],
    }
    return {
        "poets": "1.0.0",
        "finished": "2026-01-31T12:00:00+00:00",
        "seed": 0,
        "model": {
            "backbone": "mobilenet_0.25_128",
            "backbone_digest": "abc",
            "image_size_px": 128,
            "bottleneck_size": 1001,
            "final_tensor_name": "final_result",
        },
        "labels": [
            {
                "label": "daisy",
                "images": 764,
                "train": 1611,
                "validation": 76,
                "test": 77,
            },
            {"label": "バラ", "images": 80, "train": 60, "validation": 9, "test": 11},
        ],
        "images": {"found": 4317, "used": 4314, "skipped": 3, "duplicates": 3},
        "split": {"by": "folders", "folders": {"train": "train", "val": "validation"}},
        "accuracy": {"test": accuracy, "validation": {}, "train": accuracy | {"n": 9}},
        "per_label": [
            {"label": "daisy", "n": 77, "precision": 0.7, "recall": 0.69},
            {"label": "バラ", "n": 11, "precision": None, "recall": 0.0},
        ],
        "confusion": [[60, 17], [2, 9]],
        "flags": {
            "output_labels": "out/labels.txt",
            "saved_model_dir": "/elsewhere/saved_model/1",
            "summaries_dir": "/elsewhere/training_summaries/",
        },
        "duration_s": {"total": 5.12, "bottlenecks": 1.2},
        "notes": ["the decoder of the graph ignores EXIF orientation"],
    } | changes


def write(folder, **files):
    for name, content in files.items():
        text = content if isinstance(content, str) else json.dumps(content)
        (folder / name.replace("__", ".")).write_text(text, encoding="utf-8")
    return folder


def summary(folder) -> str:
    return format_results(read_results(list_folder(str(folder))))


def test_a_run_is_reported_whole(tmp_path):
    write(
        tmp_path,
        metrics__json=metrics(),
        retrained_graph__pb="graph",
        retrained_graph__tflite="lite",
        labels__txt="daisy\nバラ\n",
        split__csv="path,label,split,predicted_label,score\n",
        skipped_images__csv="path,reason\na,cut short\nb,empty\nc,cut short\n",
    )
    (tmp_path / "training_summaries").mkdir()
    pad = len(f"{tmp_path}/retrained_graph.tflite")
    assert summary(tmp_path) == "\n".join(
        [
            "model       mobilenet_0.25_128, 128 px, 1,001 features, answers at "
            "final_result:0, seed 0, finished 2026-01-31T12:00:00+00:00, poets 1.0.0",
            "labels      2: daisy, バラ",
            "images      4,317 found, 4,314 used, 3 skipped, 3 duplicates",
            "              2 x cut short",
            "              1 x empty",
            "split       the user's own: train is train/, validation is val/; test "
            "taken from train",
            "test         69.8%  95 % interval 65.2% to 74.0%  (300 of 430)",
            "train        69.8%  95 % interval 65.2% to 74.0%  (300 of 9)",
            "time        total 5.1 s, bottlenecks 1.2 s",
            "",
            "label       train  validation        test   precision      recall",
            "daisy       1,611          76          77       70.0%       69.0%",
            "バラ           60           9          11           -        0.0%",
            "",
            "most often mixed up (test)",
            "  daisy taken for バラ: 17 of 77",
            "  バラ taken for daisy: 2 of 11",
            "",
            "files",
            *(
                f"  {f'{tmp_path}/{name}'.ljust(pad)}  {what}"
                for name, what in [
                    ("labels.txt", "labels, in the order of the outputs"),
                    ("metrics.json", "figures of the run"),
                    ("retrained_graph.pb", "frozen graph"),
                    ("retrained_graph.tflite", "LiteRT model"),
                    ("skipped_images.csv", "images left out, with the reason"),
                    ("split.csv", "use and prediction of each image"),
                    ("training_summaries", "for tensorboard --logdir"),
                ]
            ),
            f"  {'/elsewhere/saved_model/1'.ljust(pad)}  SavedModel",
            "",
            "notes",
            "  the decoder of the graph ignores EXIF orientation",
        ]
    )


@pytest.mark.parametrize(
    ("split", "text"),
    [
        ({"by": "hash", "folders": {}}, "split       by hash of names and contents\n"),
        ({"by": "folders", "folders": {}}, None),
        ({"by": "folders"}, None),
        ({}, None),
        (
            {"by": "folders", "folders": {"Test": "test", "train": "train"}},
            "split       the user's own: train is train/, test is Test/; validation "
            "taken from train\n",
        ),
    ],
)
def test_a_summary_shows_whose_split_it_is(tmp_path, split, text):
    found = summary(write(tmp_path, metrics__json=metrics(split=split)))
    assert text in found if text else "\nsplit " not in found


def test_results_of_the_original_have_their_labels_and_a_note(tmp_path):
    write(
        tmp_path, retrained_graph__pb="graph", retrained_labels__txt="daisy\r\nroses\n"
    )
    text = summary(tmp_path)
    assert text.startswith("labels      2: daisy, roses\n")
    assert "no metrics.json: these are results of the original retrain.py" in text
    assert f"{tmp_path}/retrained_graph.pb    frozen graph" in text


def test_a_folder_that_is_no_result_says_what_to_give(tmp_path):
    write(tmp_path, readme="hello")
    assert summary(tmp_path) == (
        "notes\n  no metrics.json and no graph: this is not a results folder, or its "
        "run has not ended; give the folder of --output_graph"
    )


@pytest.mark.parametrize("absent", sorted(metrics()))
def test_every_part_may_be_absent_or_null(tmp_path, absent):
    whole = summary(write(tmp_path, metrics__json=metrics()))
    without = {key: value for key, value in metrics().items() if key != absent}
    text = summary(write(tmp_path, metrics__json=without))
    assert text == summary(write(tmp_path, metrics__json=without | {absent: None}))
    assert text != whole


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "it is not JSON"),
        ("{", "it is not JSON"),
        ("[" * 100_000, "it is not JSON"),
        ("[]", "it is not a JSON object"),
        (metrics(model=7), "'model' is not an object"),
        (metrics(labels={}), "'labels' is not a list"),
        (metrics(labels=["daisy"]), r"'labels\[0\]' is not an object"),
        (metrics(labels=[{"label": 3}]), r"'labels\[0\].label' is 3, not text"),
        (metrics(seed=True), "'seed' is True, not a number"),
        (
            metrics(accuracy={"test": {"n": "many"}}),
            "'accuracy.test.n' is 'many', not a",
        ),
        (metrics(confusion=[[1, "x"]]), r"'confusion\[0\]\[1\]' is 'x', not a number"),
    ],
)
def test_broken_metrics_are_refused_by_name(tmp_path, content, problem):
    write(tmp_path, metrics__json=content)
    with pytest.raises(
        ModelError,
        match=f"cannot read '.*/metrics.json': {problem}.*; run retrain again, or move",
    ):
        summary(tmp_path)


def test_a_broken_list_of_skipped_images_is_refused(tmp_path):
    write(tmp_path, skipped_images__csv="path,reason\na," + "x" * 200_000)
    with pytest.raises(ModelError, match=r"skipped_images.csv': it is not CSV \(field"):
        summary(tmp_path)


def test_a_file_of_absurd_size_is_not_read(tmp_path):
    with (tmp_path / "metrics.json").open("wb") as file:
        file.truncate(1 << 40)  # a hole: no disk is used
    with pytest.raises(ModelError, match=r"it has 1,099,511,627,776 bytes, and a run"):
        summary(tmp_path)


def test_of_many_labels_the_least_recalled_are_shown(tmp_path):
    names = [f"label{k:04}" for k in range(1000)]
    text = summary(
        write(
            tmp_path,
            metrics__json=metrics(
                labels=[{"label": name} for name in names],
                per_label=[
                    {"label": name, "recall": 1 - k / 1000}
                    for k, name in enumerate(names)
                ],
            ),
        )
    )
    assert f"the {MAX_ROWS} of 1000 labels with the least recall" in text
    rows = [
        line for line in text.split("\n") if line.endswith("%") and "label0" in line
    ]
    assert len(rows) == MAX_ROWS
    assert rows[0].startswith("label0999 ")


def test_labels_and_notes_cannot_act_on_the_terminal(tmp_path):
    changed = metrics(labels=[{"label": "a\x1b[2J\ud800"}], notes=["x\r\u202ey"])
    text = summary(write(tmp_path, metrics__json=changed))
    assert text.replace("\n", "").isprintable()
    assert "1: a?[2J?" in text


@pytest.mark.parametrize(
    ("reject", "line"),
    [
        (
            {
                "wanted_accuracy": 0.95,
                "threshold": 0.862,
                "test": {"coverage": 0.2, "accuracy": None},
            },
            "reject      scores below 86.2%; the test answers 20.0%, of which - are "
            "right",
        ),
        (
            {"wanted_accuracy": 0.95, "threshold": None, "test": None},
            "reject      no threshold reaches an accuracy of 95.0% on validation",
        ),
        ({}, None),
    ],
)
def test_the_reject_threshold_is_reported_or_why_there_is_none(tmp_path, reject, line):
    lines = summary(write(tmp_path, metrics__json=metrics(reject=reject))).split("\n")
    assert [each for each in lines if each.startswith("reject")] == [line] * bool(line)
