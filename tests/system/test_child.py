"""Child processes: what they import, and what is left of one that dies."""

import sys

import pytest

from poets.system.child import Child, ChildDiedError

ECHO = """\
import json, sys
import poets
for line in sys.stdin:
    print(json.dumps({"file": poets.__file__, "got": json.loads(line)}), flush=True)
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module that a child can run."""
    (tmp_path / "modules").mkdir()
    monkeypatch.syspath_prepend(tmp_path / "modules")
    monkeypatch.chdir(tmp_path)

    def write(text):
        (tmp_path / "modules" / "at_work.py").write_text(text)
        return "at_work"

    return write


def test_a_child_imports_the_package_and_not_the_module_for_dcos(module):
    with Child(module(ECHO), {}) as child:
        child.send({"part": 1})
        answer = child.receive()
    assert answer["got"] == {"part": 1}
    assert answer["file"].endswith("poets/__init__.py")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="PYTHONSAFEPATH is of 3.11")
def test_a_child_imports_nothing_from_the_current_folder(module, tmp_path):
    (tmp_path / "poets").mkdir()
    (tmp_path / "json.py").write_text("raise SystemExit('the wrong one')")
    with Child(module(ECHO), {}) as child:
        child.send({})
        assert child.receive()["got"] == {}


def test_a_child_that_dies_names_its_exit_code(module):
    with Child(module("import sys; sys.stdin.readline(); sys.exit(3)"), {}) as child:
        child.send({})
        with pytest.raises(ChildDiedError, match="3"):
            child.receive()
