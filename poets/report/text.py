"""Text for a terminal: printable, in columns, figures as people read them."""

import unicodedata


def printable(text: str) -> str:
    """Replaces unprintable characters with "?", like `ls -q`."""
    return "".join(c if c.isprintable() else "?" for c in text)


def width(text: str) -> int:
    """Returns the columns that a text takes: two per CJK character, none per accent."""
    return sum(
        0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF")
        for c in text
    )


def pad(text: str, columns: int) -> str:
    """Returns a text with blanks up to a number of columns."""
    return text + " " * (columns - width(text))


def percent(share: float | None) -> str:
    """Returns a share, 0 to 1, in percent; "-" for None."""
    return "-" if share is None else f"{100 * share:.1f}%"
