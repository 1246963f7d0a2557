"""A command-line parser that reports mistakes like those of a job context.

Unknown options are reported all at once, each with the nearest known one, together with
all other mistakes; the exit code is 2.
"""

import argparse
import itertools
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from poets.errors import ConfigError, format_problems, nearest

NO_VALUE = ("expected one argument", "takes one value, found none")
"""argparse's text, and ours."""


class Parser(argparse.ArgumentParser):
    """Raises ConfigError where its base class prints the usage and exits.

    A verb with a default for `problems` gets the mistakes there instead, to report them
    together with wrong values. `--learning-rate` means `--learning_rate`.
    """

    def __init__(self, *args: Any, **more: Any) -> None:
        super().__init__(*args, **{"allow_abbrev": False, **more})

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Returns the namespace, and an empty list of remaining words.

        Raises:
          ConfigError: names all mistakes.
        """
        words = list(map(self._spelled, sys.argv[1:] if args is None else args))
        found = None
        try:
            found, left = super().parse_known_args(words, namespace)
        except _WrongError as wrong:
            if self._subparsers:  # the verb's own parser sees what follows it
                words = list(itertools.takewhile(_is_option, words))
            problems = [*self._unknown(words), str(wrong)]
        else:
            problems = [*self._unknown(left), *_stray(left)]
            if self._follows_unknown(words, getattr(found, "folder", None)):
                found.folder = None  # this is the value of a misspelt option
        if found is not None and self.get_default("problems") is not None:
            found.problems = problems
        elif problems:
            title = "wrong command line" if self._subparsers else "wrong flags"
            raise ConfigError(format_problems(title, problems))
        return found, []

    def error(self, message: str) -> NoReturn:
        """Ends the parsing; `parse_known_args` reports the message."""
        message = message.removeprefix("argument ")
        raise _WrongError(message.replace(*NO_VALUE))

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        choices = action.choices
        if choices is not None and value not in choices:
            raise argparse.ArgumentError(
                action,
                f"no such name {value!r}{nearest(str(value).lower(), choices)}; known: "
                f"{', '.join(choices)}",
            )

    def _spelled(self, word: str) -> str:
        """Returns an option with "_" for "-" if such an option exists."""
        name, separator, value = word.partition("=")
        spelled = f"--{bare(name)}"
        known = name.startswith("--") and spelled in self._options()
        return spelled + separator + value if known else word

    def _unknown(self, words: Sequence[str]) -> Iterator[str]:
        """Yields a sentence for each option that does not exist."""
        known = self._options()
        for word in itertools.takewhile(lambda word: word != "--", words):
            name = word.partition("=")[0]
            if _is_option(word) and name not in known:
                likely = nearest(bare(name), map(bare, known))
                yield f"unknown flag {name!r}{likely}"

    def _follows_unknown(self, words: Sequence[str], value: str | None) -> bool:
        """Returns whether a word is in the place of an unknown option's value."""
        known = self._options()
        return any(
            word == value
            and _is_option(before)
            and "=" not in before
            and before not in known
            for before, word in itertools.pairwise(words)
        )

    def _options(self) -> list[str]:
        return list(self._option_string_actions)


class _WrongError(Exception):
    """A mistake found by one parser, in argparse's words."""


def _is_option(word: str) -> bool:
    """Returns whether argparse takes a word for an option; not "-" and "-1"."""
    return bool(re.match(r"-[^\d.]", word)) and " " not in word


def bare(name: str) -> str:
    """Returns a flag's name without dashes in front, and with "_" for others."""
    return name.lstrip("-").replace("-", "_")


def _stray(left: Sequence[str]) -> Iterator[str]:
    """Yields a sentence for each word that belongs to no option."""
    for before, word in itertools.pairwise(["", *left]):
        is_value = _is_option(before) and "=" not in before and before != "--"
        if not (_is_option(word) or is_value):
            yield f"unexpected argument {word!r}"
