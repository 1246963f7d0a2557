"""The documents say what the program does."""

import base64
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

import poets
from poets import cli
from poets.cli import VERBS, build_parser
from poets.dcos.options import read_options
from poets.dcos.validate import find_problems
from poets.flags import FIELDS, flags_markdown
from poets.job import config_from_context
from tests.serving import serving
from tools.hdfs import hdfs
from tools.hdfs.configuration import AUTH_TO_LOCAL
from tools.kdc import kdc

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PAGES = [
    README,
    ROOT / "CHANGELOG.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "demo/README.md",
    *sorted(ROOT.glob("docs/*.md")),
]
COLUMNS = 100
NOT_WRAPPED = {
    "docs/flags.md",  # made by `make docs`
}
WRAPPED = sorted(
    {
        str(path.relative_to(ROOT))
        for pattern in ("*.md", "[a-z]*/**/*.md")  # not those of .cache
        for path in ROOT.glob(pattern)
    }
    - NOT_WRAPPED
)
ONE_PIECE = re.compile(r"\||[-*\s]*\[[^\]]*\]\([^)]*\)\W*$")  # a row, a link
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


SERVER = "http://127.0.0.1:8501"
TOOLS = {"tools/kdc/kdc.py": kdc.build_parser, "tools/hdfs/hdfs.py": hdfs.build_parser}


def blocks(page, language):
    """Returns the blocks of code of a page in one language, in order."""
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(), re.DOTALL)


def commands(page):
    """Yields the commands that a page's console blocks show, lines joined."""
    for block in blocks(page, "console"):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("$ "):
                yield shlex.split(line[2:], comments=True)


SHOWN = [(page.name, command) for page in PAGES for command in commands(page)]


@pytest.fixture
def small_job(labelled_folder, tmp_path, monkeypatch):
    """A working folder with what the README's examples name, and flags for a test.

    The examples take a network that has to be downloaded, and many steps.
    """
    folder = labelled_folder(tmp_path, {"daisy": 30, "roses": 30})
    folder.rename(tmp_path / "flower_photos")
    picture = tmp_path / "flower_photos/roses/0000.jpg"
    picture.rename(tmp_path / "new.jpg")
    monkeypatch.setenv("POETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return {
        "architecture": "scattering_96",
        "how_many_training_steps": 60,
        "processes": 1,
    }


def test_the_first_commands_of_the_readme_work(small_job, tmp_path, capsys):
    shown = "".join(blocks(README, "console")[:2]).splitlines()
    install, retrain, serve, curl, label = map(shlex.split, shown)
    assert install == ["$", "pip", "install", ".[serve]"]
    assert retrain[:3] == ["$", "poets", "retrain"]
    flags = [f"--{name}={value}" for name, value in small_job.items()]
    assert cli.run([*retrain[2:], *flags]) == 0
    assert (tmp_path / "run/retrained_graph.pb").exists()
    assert serve == ["$", "poets", "serve", "run"]
    with serving(tmp_path / "run", "--processes=1") as server:
        assert curl[1:3] == ["curl", "--data-binary"]
        path = curl[4].removeprefix(SERVER)
        reply = server.post(path, data=Path(curl[3][1:]).read_bytes())
    assert reply.json()["results"][0][0][0] == "roses"
    capsys.readouterr()
    assert label[:3] == ["$", "poets", "label"]
    assert cli.run(label[2:]) == 0
    assert re.match(r"roses \(score = \d", capsys.readouterr().out)


def test_the_python_example_of_the_readme_works(small_job, capsys, monkeypatch):
    retrain = poets.retrain

    def retrain_fast(image_dir: str, **flags: Any) -> Any:
        return retrain(image_dir, **(flags | small_job))

    monkeypatch.setattr(poets, "retrain", retrain_fast, raising=False)
    exec(blocks(README, "python")[0], {})
    *_, accuracy, labels, prediction = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"[\d.]+% of \d+ test images are right", accuracy)
    assert labels == "labels: daisy roses"
    assert re.fullmatch(r"new\.jpg roses [\d.]+%", prediction)


def test_the_python_example_of_a_sweep_works(small_job, capsys, monkeypatch):
    sweep = poets.sweep

    def sweep_fast(image_dir: str, grid: Any, **flags: Any) -> Any:
        return sweep(image_dir, grid, **(flags | small_job))

    monkeypatch.setattr(poets, "sweep", sweep_fast, raising=False)
    exec(blocks(ROOT / "docs/python.md", "python")[0], {})
    *table, best = capsys.readouterr().out.splitlines()
    assert len(table) == 4
    assert re.fullmatch(r"[\d.]+% sweep/best/retrained_graph\.pb", best)


def test_the_readme_shows_the_targets_that_try_it_all():
    assert re.findall(r"^\$ (make [\w-]+)", blocks(README, "console")[2], re.M) == [
        "make demo",
        "make demo-hdfs",
        "make test",
    ]


@pytest.mark.parametrize(("page", "command"), SHOWN, ids=lambda value: str(value)[:60])
def test_each_command_shown_is_one_the_program_takes(page, command):
    program, *arguments = command
    if program == "poets":
        args = build_parser(arguments[0]).parse_args(arguments)
        assert args.func
        assert not getattr(args, "problems", ())
    elif program == "make":
        assert set(arguments) <= TARGETS
    elif program == "python":
        assert (ROOT / arguments[0]).is_file()
        if arguments[0] in TOOLS:
            own = arguments[1 : arguments.index("--") if "--" in arguments else None]
            assert TOOLS[arguments[0]]().parse_args(own).verb
    elif program == "pip":
        assert arguments in (["install", "."], ["install", ".[serve]"])
    elif program in ("curl", "echo"):  # tests/serve/test_documents.py runs them
        assert page in ("README.md", "serving.md")
    else:
        assert program == "dcos"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_link_leads_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text())
    local = [link for link in links if "://" not in link]
    missing = [link for link in local if not (page.parent / link).exists()]
    assert not missing


@pytest.mark.parametrize("page", WRAPPED)
def test_each_line_of_prose_fits_on_the_screen(page):
    text = (ROOT / page).read_text()
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    long = [
        line
        for line in prose.splitlines()
        if len(line) > COLUMNS and not ONE_PIECE.match(line)
    ]
    assert not long


def test_the_flag_page_is_the_programs_own_table():
    assert (ROOT / "docs/flags.md").read_text() == flags_markdown()


def test_help_names_every_verb_and_every_flag(capsys):
    for arguments, names in (
        (["--help"], VERBS),
        (["retrain", "--help"], [f"--{name}" for name in FIELDS]),
    ):
        with pytest.raises(SystemExit) as ended:
            build_parser(arguments[0]).parse_args(arguments)
        shown = capsys.readouterr().out
        assert ended.value.code == 0
        assert [name for name in names if name not in shown] == []


@pytest.mark.parametrize(
    "name", [path.name for path in sorted(ROOT.glob("demo/poets*.json"))]
)
def test_each_demo_options_file_is_good(name):
    options = read_options(str(ROOT / "demo" / name))
    problems = find_problems(options, config_from_context)
    assert [str(problem) for problem in problems if problem.severity == "error"] == []
    assert json.loads(options["service.job_context"])["args"]


def test_the_options_of_dcos_hdfs_have_the_rules_of_our_own():
    options = json.loads((ROOT / "demo/hdfs.json").read_text())
    rules = base64.b64decode(options["hdfs"]["security_auth_to_local"]).decode()
    assert set(rules.split("\r\n")) <= set(AUTH_TO_LOCAL.split("\n"))
    assert "tensorflow@LOCAL" in rules
    kerberos = options["service"]["security"]["kerberos"]
    ours = read_options(str(ROOT / "demo/poets.json"))
    for name in ("realm", "kdc.hostname", "kdc.port"):
        first, _, second = name.partition(".")
        value = kerberos[first][second] if second else kerberos[first]
        assert value == ours[f"service.security.kerberos.{name}"]


def test_the_version_is_the_same_everywhere():
    from poets import __version__

    assert f"poets-{__version__}" in (ROOT / "demo/poets.json").read_text()
    assert f"## {__version__}" in (ROOT / "CHANGELOG.md").read_text()
