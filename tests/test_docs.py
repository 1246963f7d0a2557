"""The documents say what the program does."""

import base64
import json
import re
import shlex
from pathlib import Path

import pytest

from poets.cli import VERBS, build_parser
from poets.dcos.options import read_options
from poets.dcos.validate import find_problems
from poets.flags import FIELDS, flags_markdown
from poets.job import config_from_context
from tools.hdfs import hdfs
from tools.hdfs.configuration import AUTH_TO_LOCAL
from tools.kdc import kdc

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    ROOT / "README.md",
    ROOT / "CHANGELOG.md",
    ROOT / "demo/README.md",
    *sorted(ROOT.glob("docs/*.md")),
]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


TOOLS = {"tools/kdc/kdc.py": kdc.build_parser, "tools/hdfs/hdfs.py": hdfs.build_parser}


def commands(page):
    """Returns the commands that a page's console blocks show, lines joined."""
    for block in re.findall(r"```console\n(.*?)```", page.read_text(), re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("$ "):
                yield shlex.split(line[2:], comments=True)


SHOWN = [(page.name, command) for page in PAGES for command in commands(page)]


def test_the_readme_begins_with_what_shows_it_all():
    first_block = next(
        iter(re.findall(r"```console\n(.*?)```", PAGES[0].read_text(), re.DOTALL))
    )
    assert re.findall(r"^\$ (make [\w-]+)", first_block, re.MULTILINE) == [
        "make demo",
        "make demo-hdfs",
        "make test",
    ]


@pytest.mark.parametrize(("page", "command"), SHOWN, ids=lambda value: str(value)[:60])
def test_each_command_shown_is_one_the_program_takes(page, command):
    program, *arguments = command
    if program == "poets":
        args = build_parser().parse_args(arguments)
        assert args.func
        assert not getattr(args, "problems", ())
    elif program == "make":
        assert set(arguments) <= TARGETS
    elif program == "python":
        assert (ROOT / arguments[0]).is_file()
        if arguments[0] in TOOLS:
            own = arguments[1 : arguments.index("--") if "--" in arguments else None]
            assert TOOLS[arguments[0]]().parse_args(own).verb
    else:
        assert program == "dcos"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_link_leads_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)\)", page.read_text())
    local = [link for link in links if "://" not in link]
    missing = [link for link in local if not (page.parent / link).exists()]
    assert not missing


def test_the_flag_page_is_the_programs_own_table():
    assert (ROOT / "docs/flags.md").read_text() == flags_markdown()


def test_help_names_every_verb_and_every_flag(capsys):
    for arguments, names in (
        (["--help"], VERBS),
        (["retrain", "--help"], [f"--{name}" for name in FIELDS]),
    ):
        with pytest.raises(SystemExit) as ended:
            build_parser().parse_args(arguments)
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
