"""`poets` and `python -m poets`: verbs, exit codes, one clear line for a mistake."""

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from poets import __version__
from poets.cli import VERBS, build_parser, run
from poets.errors import ConfigError
from poets.job import config_from_context

ROOT = Path(__file__).parents[2]


def poets(*words, cwd=ROOT, **more):
    """Runs the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "poets", *words],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        **more,
    )


def exit_code(*words):
    """Returns what the process would exit with."""
    try:
        return run(words)
    except SystemExit as exit:  # help and version alone
        return exit.code


def test_version(capsys):
    assert exit_code("--version") == 0
    assert capsys.readouterr().out == f"poets {__version__}\n"


def test_help_names_every_verb(capsys):
    assert exit_code("--help") == 0
    out = capsys.readouterr().out
    for verb in VERBS:
        assert re.search(rf"^    {verb}\s", out, re.MULTILINE)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb, capsys):
    assert exit_code(verb, "--help") == 0
    assert f"poets {verb}" in capsys.readouterr().out


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_imports_no_more_than_it_needs(verb):
    """NumPy and pyarrow alone take longer than a person wants to wait for it."""
    program = (
        "import sys, poets.cli\n"
        "try: poets.cli.run(sys.argv[1:])\n"
        "except SystemExit: print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *filter(None, [verb]), "--help"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    loaded = set(done.stderr.split())
    assert "argparse" in loaded
    heavy = {"pyarrow", "numpy", "requests", "cv2", "tensorflow", "poets.job"}
    assert not loaded & {*heavy, "poets.kerberos.login"}
    if not verb:
        assert not {name for name in loaded if name.startswith("poets.cli.")}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "the following arguments are required: VERB"),
        (("retrian",), "VERB: no such name 'retrian' (did you mean 'retrain'?)"),
        (("retrain", "--bogus=1"), "unknown flag '--bogus'\n"),
        (("label", "--model=x"), "required: IMAGE"),
        (("label", "x.jpg"), "required: --model"),
    ],
)
def test_a_wrong_command_line_is_exit_code_2(words, message, capsys):
    assert exit_code(*words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err


def test_a_mistake_is_one_line_and_no_traceback_in_a_real_process(tmp_path):
    ours = ("--output_dir=out", f"--bottleneck_dir={tmp_path}")
    done = poets("retrain", "--image_dir", "absent", *ours, cwd=tmp_path)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        "poets retrain: Image directory 'absent' not found; give --image_dir a folder "
        "with one folder of images per label\n"
    )


def test_a_reader_that_goes_away_is_no_error(tmp_path):
    log = tmp_path / "log"
    line = "2026-01-31 12:00:00.000000: Step {0}: Train accuracy = 50.0%\n"
    log.write_text("".join(line.format(step) for step in range(20_000)))
    command = (
        f"{sys.executable} -m poets logs {log} | head -n 1; exit ${{PIPESTATUS[0]}}"
    )
    done = subprocess.run(
        ["bash", "-c", command],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0
    assert done.stderr == ""


def test_names_that_the_terminal_cannot_show_are_no_error(tmp_path):
    name = "nicht da \udcff ☃"
    done = subprocess.run(
        [sys.executable, "-m", "poets", "results", name],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert done.returncode in (1, 2)
    assert b"Traceback" not in done.stderr
    assert done.stderr.startswith(b"poets results: ")


MISSPELT = [
    (("retrain", "--architecure=x", "--sede", "3"), ("architecture", "seed")),
    (("sweep", "--outptu_dir=x", "--gird=seed=1,2"), ("output_dir", "grid")),
    (("label", "x.jpg", "--modle", "m", "--topp=3"), ("model", "top")),
    (("results", "x", "--jsn"), ("json",)),
    (("logs", "x", "--plto", "y", "--jsn"), ("plot", "json")),
    (("dcos", "validate", "x", "--agr=a=b"), ("arg",)),
    (("dcos", "run", "--sanbox", "x", "--max-restart=1"), ("sandbox", "max_restarts")),
    (("kubernetes", "manifests", "x", "--imag=y"), ("image",)),
    (("kubernetes", "follow", "x", "y", "--evry=3"), ("every",)),
    (("doctor", "--tiemout_s=3", "--wrte=x"), ("timeout_s", "write")),
]


@pytest.mark.parametrize(("words", "known"), MISSPELT, ids=lambda words: words[0])
def test_all_misspelt_options_are_reported_with_the_nearest_name(words, known, capsys):
    assert exit_code(*words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"poets {words[0]}: ")
    assert "usage" not in err
    assert err.count("unknown flag '--") == len(known)
    for name in known:
        assert f" (did you mean {name!r}?)\n" in err


def test_misspelt_options_before_the_verb_are_reported(capsys):
    assert exit_code("--verson") == 2
    assert (
        "unknown flag '--verson' (did you mean 'version'?)" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("label", "--model"), "wrong flags: --model: takes one value, found none"),
        (("label", "x", "--model=m", "--top=z"), "--top: invalid int value: 'z'"),
        (("kubernetes", "manifests", "x", "--kind=tfjbo"), "(did you mean 'tfjob'?)"),
        (("dcos", "vaildate", "x"), "no such name 'vaildate' (did you mean 'validate'"),
        (("retrain", "--seed=1", "x", "y"), "unexpected argument 'y'\n"),
        (("retrain", "--image_dir=x", "y"), "the folder is given twice: 'y' and"),
        (("results", "x", "y"), "wrong flags: unexpected argument 'y'\n"),
        (("logs", "--pl=x", "y"), "unknown flag '--pl'"),
    ],
)
def test_other_mistakes_are_reported_in_the_same_way(words, text, capsys):
    assert exit_code(*words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"poets {words[0]}: ")
    assert text in err


WRONG = {
    "--architecure": "inception_v3",
    "--learning_rate": "fast",
    "--seed": "-1",
    "--split": "folder",
    "--train-batch-size": "0",
}


def test_the_command_line_and_the_context_have_one_text(capsys):
    with pytest.raises(ConfigError) as caught:
        config_from_context({"args": WRONG}, None)
    assert str(caught.value).startswith("wrong flags: 6 problems\n")
    for words in (
        [f"{name}={value}" for name, value in WRONG.items()],
        [word for pair in WRONG.items() for word in pair],
    ):
        assert exit_code("retrain", *words) == 2
        assert capsys.readouterr().err == f"poets retrain: {caught.value}\n"


def test_values_are_taken_as_they_are_typed(capsys):
    """An option's name as a value, or with "-" for "_"."""
    words = ["label", "--model", "labels", "--labels=json-x", "--", "--top-level.jpg"]
    args = build_parser("label").parse_args(words)
    assert (args.model, args.labels) == ("labels", "json-x")
    assert args.images == ["--top-level.jpg"]
    words = ["retrain", "--learning-rate", "-0.5"]
    args = build_parser("retrain").parse_args(words)
    assert (args.learning_rate, args.problems) == ("-0.5", [])


def test_no_folder_for_temporary_files_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setattr(tempfile, "_candidate_tempdir_list", lambda: ["/proc/none"])
    options = tmp_path / "options.json"
    options.write_text('{"service": {"job_url": "/job.zip", "job_name": "job"}}')
    assert exit_code("dcos", "run", str(options)) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "poets dcos: No usable temporary directory found in ['/proc/none']; set TMPDIR "
        "to one"
    )
