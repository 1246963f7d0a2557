"""The exception tree and the sentences that errors share."""

import pytest

from poets import errors
from poets.errors import format_problems, nearest

CLASSES = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, errors.PoetsError)
]


def test_the_tree_in_the_docstring_names_every_class():
    for kind in CLASSES:
        assert kind.__name__ in errors.__doc__
        assert kind.__doc__.count(".") == 1


@pytest.mark.parametrize(
    ("kind", "builtin", "exit_code"),
    [
        (errors.ConfigError, ValueError, 2),
        (errors.DatasetError, ValueError, 2),
        (errors.ModelError, Exception, 1),
        (errors.StorageError, OSError, 1),
        (errors.UnknownSchemeError, OSError, 2),
        (errors.NotAuthenticatedError, PermissionError, 1),
        (errors.KerberosError, PermissionError, 1),
    ],
)
def test_an_error_is_a_builtin_one_and_has_an_exit_code(kind, builtin, exit_code):
    assert issubclass(kind, builtin)
    assert kind.exit_code == exit_code
    assert str(kind("cannot open 'x'")) == "cannot open 'x'"


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("cpu", " (did you mean 'cpus'?)"),
        ("gpu_worker", ""),
        ("", ""),
        ("cpus", " (did you mean 'cpus'?)"),
    ],
)
def test_the_nearest_known_name_is_offered_if_it_is_near(name, hint):
    assert nearest(name, iter(["cpus", "mem"])) == hint


def test_one_problem_is_one_line_and_more_are_a_list():
    assert format_problems("wrong flags", ["a"]) == "wrong flags: a"
    assert format_problems("wrong flags", ["a", "b"]) == (
        "wrong flags: 2 problems\n  - a\n  - b"
    )
