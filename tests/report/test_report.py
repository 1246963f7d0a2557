"""The files of a report: from a run, from its folder, and where parts are missing."""

import dataclasses
import json
import re
import shutil
import sys

import pytest

from poets.cli import run
from poets.report import build
from poets.report.findings import SECTIONS, Findings, find
from poets.report.page import percent, size
from poets.report.page.pictures import Pictures
from poets.report.page.run_page import run_page
from poets.report.reread import read_evidence
from tests.report.pages import (
    dataset_of,
    made_up_run,
    with_every_section,
    write_picture,
)
from tests.retraining import logged, read_csv

pytest_plugins = ["tests.finished"]

MAX_BYTES = 5_000_000


def page_of(results, image_dir=""):
    evidence = read_evidence(str(results), str(image_dir))
    return run_page(find(evidence), evidence.answers.dataset).decode()


def sections_of(folder):
    return json.loads((folder / "report.json").read_text())["sections"]


def assert_near(found, expected):
    """Compares data of JSON; numbers may differ as those of split.csv, by rounding."""
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        found, expected = list(found.values()), list(expected.values())
    if isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_near(one, other)
    else:
        assert found == expected or found == pytest.approx(expected, abs=2e-4)


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of the results folder of a run."""
    folder = tmp_path / "copied"
    shutil.copytree(finished.folder, folder, ignore=shutil.ignore_patterns("bottle*"))
    for name in ("report.html", "report.json"):
        (folder / name).unlink()
    return folder


@pytest.mark.parametrize(
    ("accuracy", "claim", "caveat"),
    [
        (0.65, "3 labels are doubtful", "right on 65.0% of the pictures"),
        (0.95, "About 3 labels are probably wrong", None),
    ],
)
def test_labels_that_a_weak_network_doubts_are_not_called_wrong(
    tmp_path, accuracy, claim, caveat
):
    made_up_run(tmp_path, tmp_path / "images", {"a": (5, 5, 5), "b": (5, 5, 5)})
    evidence = read_evidence(str(tmp_path))
    sections = dict(with_every_section(find(evidence), "a", "a/1.jpg").sections)
    doubtful = dataclasses.replace(sections["doubtful_labels"], accuracy=accuracy)
    sections["doubtful_labels"] = doubtful
    page = run_page(Findings(sections, {}), evidence.answers.dataset).decode()
    assert claim in page
    assert ("probably wrong" in page) == (caveat is None)
    assert caveat is None or caveat in page


class TestOfARun:
    def test_all_sections_are_there(self, finished):
        report = json.loads((finished.folder / "report.json").read_text())
        assert report["failed"] == {}
        assert set(report["sections"]) == set(SECTIONS)
        for name in ("summary", "curves", "labels", "confusion", "mistakes", "skipped"):
            assert report["sections"][name]
        assert finished.metrics["notes"] == report["sections"]["summary"]["notes"]

    def test_the_figures_are_those_of_metrics_json(self, finished):
        metrics, sections = finished.metrics, sections_of(finished.folder)
        for split, share in sections["summary"]["accuracy"].items():
            assert share["correct"] == metrics["accuracy"][split]["correct"]
        confusion = sections["confusion"]
        assert confusion["matrix"] == metrics["confusion"]
        assert confusion["elsewhere"] == [0] * len(confusion["labels"])
        off = [c for c in confusion["cells"] if c["label"] != c["predicted"]]
        wrong = sum(cell["count"] for cell in off)
        assert wrong == len(sections["mistakes"]["found"])
        assert sorted(off, key=str) == sorted(confusion["pairs"], key=str)

    def test_a_list_and_its_csv_agree(self, finished):
        sections = sections_of(finished.folder)
        mistakes = read_csv(finished.folder / "mistakes.csv")
        assert [row["path"] for row in mistakes] == [
            each["path"] for each in sections["mistakes"]["found"]
        ]
        split = {row["path"]: row for row in read_csv(finished.folder / "split.csv")}
        for row in mistakes:
            assert split[row["path"]]["split"] == "test"
            assert split[row["path"]]["predicted_label"] == row["predicted"]
            assert float(row["label_score"]) <= float(row["score"])
        labels = read_csv(finished.folder / "labels.csv")
        recalls = [float(row["recall"]) for row in labels]
        assert recalls == sorted(recalls)

    def test_the_curves_are_those_of_the_log(self, finished):
        points = sections_of(finished.folder)["curves"]["points"]
        logged = [line for line in finished.lines if "Validation accuracy" in line]
        assert len(points) == len(logged) > 2
        for point, line in zip(points, logged, strict=True):
            accuracy = f"{100 * point['accuracy']:.1f}%"
            assert f"Step {point['step']}: Validation accuracy = {accuracy}" in line

    def test_skipped_files_are_grouped_by_reason(self, finished):
        skipped = sections_of(finished.folder)["skipped"]
        assert skipped["count"] == 2
        paths = {path for reason in skipped["reasons"] for path in reason["paths"]}
        assert paths == set(finished.broken)

    def test_it_is_left_out_if_asked(self, finished, tmp_path):
        from tests import retraining

        (tmp_path / "report.html").write_text("of an earlier run")
        retraining.retrain(
            tmp_path,
            finished.image_dir,
            exports=False,
            report=False,
            bottleneck_dir=str(finished.folder / "bottlenecks"),
        )
        names = {path.name for path in tmp_path.iterdir()}
        assert "metrics.json" in names
        assert not names & {"report.html", "report.json", "labels.csv"}


class TestOfAFolder:
    def test_it_is_the_report_of_the_run_but_for_the_curves(
        self, finished, copied, capsys
    ):
        assert run(["report", str(copied)]) == 0
        assert capsys.readouterr().out == f"{copied}/report.html\n"
        found, expected = sections_of(copied), sections_of(finished.folder)
        assert found.pop("curves") is None
        assert expected.pop("curves")
        del found["run"], expected["run"]  # the time that the report takes is new
        assert_near(found, expected)
        pictures = [
            (folder / "report.html").read_text().count("data:image/jpeg")
            for folder in (copied, finished.folder)
        ]
        assert pictures[0] == pictures[1] > 10

    def test_without_bottlenecks_it_has_what_needs_none(self, finished, copied):
        metrics = json.loads((copied / "metrics.json").read_text())
        metrics["flags"]["bottleneck_dir"] = str(copied / "gone")
        (copied / "metrics.json").write_text(json.dumps(metrics))
        with logged() as lines:
            assert run(["report", str(copied)]) == 0
        assert "only what needs no bottlenecks" in "\n".join(lines)
        found, expected = sections_of(copied), sections_of(finished.folder)
        for name, row in SECTIONS.items():
            if row.needs_features:
                assert found[name] is None
        assert_near(found["confusion"], expected["confusion"])
        assert "data:image/jpeg" in (copied / "report.html").read_text()

    def test_bottlenecks_of_another_head_are_not_used(self, copied):
        text = (copied / "split.csv").read_text()
        worse = re.sub(r"0\.\d{5}$", "0.40000", text, flags=re.MULTILINE)
        (copied / "split.csv").write_text(worse)
        assert read_evidence(str(copied)).trained is None

    def test_pictures_that_are_gone_are_missed_and_said(self, copied, finished):
        metrics = json.loads((copied / "metrics.json").read_text())
        metrics["flags"]["image_dir"] = str(copied / "gone")
        (copied / "metrics.json").write_text(json.dumps(metrics))
        page = page_of(copied)
        assert "data:image/jpeg" not in page
        assert f"Pictures are missing: {copied}/gone cannot be read" in page
        assert "data:image/jpeg" in page_of(copied, finished.image_dir)

    def test_output_takes_the_page_alone(self, copied, tmp_path, capsys):
        page = tmp_path / "elsewhere" / "page.html"
        assert run(["report", str(copied), "--output", str(page)]) == 0
        assert capsys.readouterr().out == f"{page}\n"
        assert page.read_text().startswith("<!doctype html>")
        assert not (copied / "report.html").exists()

    @pytest.mark.parametrize(
        ("spoil", "message"),
        [
            (
                lambda folder: (folder / "metrics.json").unlink(),
                "cannot read '.*no such",
            ),
            (lambda folder: (folder / "metrics.json").write_text("{}"), "'flags'"),
            (lambda folder: (folder / "metrics.json").write_text("{"), "cannot report"),
            (lambda folder: (folder / "split.csv").write_text("path\na.jpg\n"), "give"),
        ],
    )
    def test_what_is_no_run_is_refused(self, copied, capsys, spoil, message):
        spoil(copied)
        assert run(["report", str(copied)]) == 1
        assert re.search(f"poets report: .*{message}", capsys.readouterr().err)

    def test_a_folder_of_pictures_that_is_not_there_is_a_mistake(self, copied, capsys):
        assert run(["report", str(copied), "--image_dir", f"{copied}/gone"]) == 2
        assert "--image_dir='" in capsys.readouterr().err


class TestFaults:
    def test_a_section_that_fails_harms_no_other(self, finished, monkeypatch):
        monkeypatch.setitem(sys.modules, "poets.report.findings.labels", None)
        with logged() as lines:
            files, notes = build.build_report(read_evidence(str(finished.folder)))
        assert any("lacks its section labels: Module" in line for line in lines)
        assert "lacks its section labels" in notes[0]
        assert "could not be computed" in files["report.html"].decode()
        assert "labels.csv" not in files
        assert json.loads(files["report.json"])["sections"]["confusion"]

    def test_a_page_that_fails_costs_only_the_page(self, finished, monkeypatch):
        monkeypatch.setattr("poets.report.page.run_page.render", None)
        with logged() as lines:
            files, notes = build.build_report(read_evidence(str(finished.folder)))
        assert any("no report.html: TypeError" in line for line in lines)
        assert notes[0].startswith("no report.html")
        assert {"report.json", "mistakes.csv"} <= set(files)
        assert "report.html" not in files


class TestEdges:
    def test_a_thousand_labels(self, tmp_path):
        counts = {f"label {number:04d}": (3, 1, 2) for number in range(1000)}
        made_up_run(
            tmp_path,
            tmp_path / "gone",
            counts,
            answer=lambda label, number: (label + (label * number) % 7) % 1000,
        )
        evidence = read_evidence(str(tmp_path))
        findings = find(evidence)
        assert findings.failed == {}
        confusion = findings.sections["confusion"]
        assert len(confusion.labels) == 20
        for place, (row, more) in enumerate(
            zip(confusion.matrix, confusion.elsewhere, strict=True)
        ):
            assert sum(row) + more == 2, confusion.labels[place]
        page = run_page(findings, evidence.answers.dataset)
        assert len(page) < 1_000_000
        assert page.decode().count("<tr>") < 200
        assert "970 more are in <code>labels.csv</code>" in page.decode()

    def test_one_picture_a_label_and_none_to_test(self, tmp_path):
        counts = {"a": (1, 0, 1), "b": (1, 1, 0), "c": (1, 0, 0)}
        made_up_run(tmp_path, tmp_path / "gone", counts)
        page = page_of(tmp_path)
        assert "2 labels have no test picture" in page
        made_up_run(tmp_path, tmp_path / "gone", dict.fromkeys("ab", (1, 1, 0)))
        assert "nothing is known about it" in page_of(tmp_path)

    def test_a_page_is_never_larger_than_5_mb(self, tmp_path):
        paths = [f"a/{number}.jpg" for number in range(600)]
        for number, path in enumerate(paths):
            write_picture(tmp_path / path, side_px=160, seed=number)
        pictures = Pictures(dataset_of(tmp_path, paths))
        marks = "".join(pictures.picture(path) for path in paths)
        page = pictures.fill(marks)
        assert 3_500_000 < len(page) < MAX_BYTES
        shown = page.count("data:image/jpeg")
        assert page.count("no picture") == len(paths) - shown > 0
        assert page.index("no picture") > page.rindex("data:image/jpeg")

    def test_a_picture_is_small_and_upright(self, finished):
        pictures = Pictures(dataset_of(finished.image_dir, [finished.turned]))
        element = pictures.fill(pictures.picture(finished.turned))
        width, height = re.search(r'width="(\d+)" height="(\d+)"', element).groups()
        assert (int(width), int(height)) == (60, 68)

    def test_keys_in_urls_are_masked(self, tmp_path):
        made_up_run(
            tmp_path,
            tmp_path / "gone",
            {"a": (2, 1, 1), "b": (2, 1, 1)},
            model_dir="s3://KEY:SECRET@models",
        )
        evidence = read_evidence(str(tmp_path))
        files, _ = build.build_report(evidence)
        for name in ("report.html", "report.json"):
            assert "s3:***@models" in files[name].decode()
            assert "SECRET" not in files[name].decode()

    @pytest.mark.parametrize(
        ("correct", "verdict"),
        [(20, "excellent"), (17, "good"), (12, "fair"), (9, "weak"), (3, "useless")],
    )
    def test_the_verdict_compares_with_guessing(self, tmp_path, correct, verdict):
        made_up_run(
            tmp_path,
            tmp_path / "gone",
            {f"{label}": (40, 10, 100) for label in range(5)},
            answer=lambda label, number: (label + (number % 20 >= correct)) % 5,
        )
        summary = find(read_evidence(str(tmp_path))).sections["summary"]
        assert summary.guessing.accuracy == 0.2
        assert summary.verdict == verdict


@pytest.mark.parametrize(
    ("share", "text"),
    [(None, "–"), (0, "0.0%"), (1e-5, "<0.1%"), (0.5, "50.0%"), (0.9999, ">99.9%")],
)
def test_shares_are_short_and_never_falsely_certain(share, text):
    assert percent(share) == text


def test_sizes_are_short():
    assert [size(each) for each in (None, 9, 1500, 2_000_000)] == [
        *("–", "9 bytes", "1.5 kB", "2.0 MB"),
    ]
