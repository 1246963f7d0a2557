"""Why there is no ticket."""

import pytest

from poets.errors import KerberosError


def failure_of(get, *args) -> str:
    """Returns the text of the error; raises if there is a ticket."""
    with pytest.raises(KerberosError) as caught:
        get(*args)
    assert caught.value.__cause__ is None
    return str(caught.value)
