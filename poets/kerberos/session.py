"""MIT's libkrb5 through ctypes: a context that gets and reads tickets.

Declarations follow krb5.h, whose structures have not changed since release 1.6.
Keys and tickets stay in the library's memory, which it wipes.
"""

import contextlib
import ctypes
import functools
import os
import time
from ctypes import POINTER, Structure, byref, c_char_p, c_int32, c_uint32, c_void_p
from dataclasses import dataclass, field
from typing import Any

from poets.errors import ConfigError
from poets.kerberos.causes import NOT_YET_VALID, TICKET_EXPIRED

LIBRARIES = ("libkrb5.so.3", "libkrb5.dylib")
NO_TICKET = -1765328243  # KRB5_CC_NOTFOUND
SKEW = -1765328347  # KRB5KRB_AP_ERR_SKEW
MAX_SKEW_S = 300  # MIT's own
END_OF_CACHE = -1765328242  # KRB5_CC_END


@dataclass(frozen=True)
class Ticket:
    """The public parts of a ticket.

    Attributes:
      principal: its owner.
      service: as "krbtgt/LOCAL@LOCAL".
      kvno: version of the service's key, to compare with the service's keytab.
      starttime: seconds since 1970, by the KDC's clock.
      endtime: in the same form.
      left_s: seconds until then, negative afterwards.
      renew_till: seconds since 1970; 0 if it cannot be renewed.
    """

    principal: str
    service: str
    kvno: int
    starttime: float
    endtime: float
    left_s: float = field(compare=False)  # differs between two readings of one ticket
    renew_till: float


class Krb5Error(Exception):
    """An error of the library: its code and its text."""

    def __init__(self, code: int, text: str):
        super().__init__(text)
        self.code = code
        self.text = text


class _Data(Structure):
    _fields_ = (("magic", c_int32), ("length", c_uint32), ("data", c_void_p))


class _Keyblock(Structure):
    _fields_ = (
        ("magic", c_int32),
        ("enctype", c_int32),
        ("length", c_uint32),
        ("contents", c_void_p),
    )


class _Creds(Structure):
    """krb5_creds of krb5.h; times are unsigned, to last until 2106."""

    _fields_ = (
        ("magic", c_int32),
        ("client", c_void_p),
        ("server", c_void_p),
        ("keyblock", _Keyblock),
        ("authtime", c_uint32),
        ("starttime", c_uint32),
        ("endtime", c_uint32),
        ("renew_till", c_uint32),
        ("is_skey", c_uint32),
        ("ticket_flags", c_int32),
        ("addresses", c_void_p),
        ("ticket", _Data),
        ("second_ticket", _Data),
        ("authdata", c_void_p),
    )


class _Ticket(Structure):
    """The beginning of krb5_ticket."""

    _fields_ = (
        ("magic", c_int32),
        ("server", c_void_p),
        ("enc_magic", c_int32),
        ("enctype", c_int32),
        ("kvno", c_uint32),
    )


@functools.cache
def load_library() -> ctypes.CDLL:
    """Returns the library.

    Raises:
      ConfigError: if it is not installed.
    """
    for name in LIBRARIES:
        with contextlib.suppress(OSError):
            library = ctypes.CDLL(name)
            library.krb5_get_error_message.restype = c_void_p
            library.krb5_cc_default_name.restype = c_char_p
            return library
    raise ConfigError(
        f"Kerberos needs MIT's library, and there is no {LIBRARIES[0]} here; install "
        "it: apt-get install libgssapi-krb5-2, or yum install krb5-libs"
    )


class Session:
    """One context of the library, freed together with everything made in it."""

    def __init__(self) -> None:
        self._free = contextlib.ExitStack()
        self._context = c_void_p()
        self._library = load_library()
        code = self._library.krb5_init_context(byref(self._context))
        if code:
            raise Krb5Error(code, self._text(code))
        self._free.callback(self._library.krb5_free_context, self._context)

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        self._free.close()

    def log_in(self, principal: str, keytab: str, cache: c_void_p) -> Ticket:
        """Gets a ticket from the KDC with a keytab, and puts it into an empty cache."""
        client = self._principal(principal)
        creds = _Creds()
        self._free_after("krb5_free_cred_contents", byref(creds))
        self._call(
            "krb5_get_init_creds_keytab",
            byref(creds),
            client,
            self._keytab(keytab),
            c_int32(0),
            None,
            None,
        )
        # Only now, so that a failure leaves the cache unchanged.
        self._call("krb5_cc_initialize", cache, client)
        self._call("krb5_cc_store_cred", cache, byref(creds))
        # The KDC counts the end from our time: if that is far behind, it has passed.
        if creds.endtime <= creds.authtime:
            here, there = _clock(time.time()), _clock(creds.authtime)
            raise Krb5Error(SKEW, f"it is {here} here, and {there} at the KDC")
        return self._describe(creds)

    def service_ticket(self, cache: c_void_p, service: str) -> Ticket:
        """Gets a ticket for a service with the ticket in a cache."""
        wanted = _Creds()
        wanted.client = self._owner(cache)
        wanted.server = self._principal(service)
        got = POINTER(_Creds)()
        self._call("krb5_get_credentials", c_int32(0), cache, byref(wanted), byref(got))
        self._free_after("krb5_free_creds", got)
        return self._describe(got.contents)

    def cached_tgt(self, cache: c_void_p, principal: str | None) -> Ticket:
        """Returns the ticket-granting ticket of a cache that expires last."""
        whose = self._name(self._owner(cache))
        if principal and whose != principal:
            raise Krb5Error(NO_TICKET, f"the ticket cache belongs to {whose}")
        tickets = [t for t in self._tickets(cache) if t.service.startswith("krbtgt/")]
        if not tickets:
            raise Krb5Error(NO_TICKET, "no such ticket in the ticket cache")
        ticket = max(tickets, key=lambda ticket: ticket.endtime)
        _check_times(ticket)
        return ticket

    def default_cache(self) -> str:
        """Returns the name of the default cache."""
        name = self._library.krb5_cc_default_name(self._context)
        return os.fsdecode(name or b"")

    def _now(self) -> float:
        """Returns the time; corrected to the KDC's if the cache has its offset."""
        now = c_int32()
        self._call("krb5_timeofday", byref(now))
        return now.value & 0xFFFFFFFF

    def cache(self, name: str | None) -> c_void_p:
        """Returns a cache by name; None for the default one."""
        if name is None:
            return self._made("krb5_cc_default", free="krb5_cc_close")
        name_bytes = os.fsencode(name)
        return self._made("krb5_cc_resolve", name_bytes, free="krb5_cc_close")

    def new_cache(self) -> c_void_p:
        """Returns a new cache in memory, destroyed with this session."""
        kind = b"MEMORY"
        return self._made("krb5_cc_new_unique", kind, None, free="krb5_cc_destroy")

    def _tickets(self, cache: c_void_p) -> list[Ticket]:
        cursor = c_void_p()
        self._call("krb5_cc_start_seq_get", cache, byref(cursor))
        found = []
        try:
            while True:
                creds = _Creds()
                self._call("krb5_cc_next_cred", cache, byref(cursor), byref(creds))
                try:
                    found.append(self._describe(creds))
                finally:
                    self._library.krb5_free_cred_contents(self._context, byref(creds))
        except Krb5Error as error:
            if error.code != END_OF_CACHE:
                raise
        finally:
            self._library.krb5_cc_end_seq_get(self._context, cache, byref(cursor))
        return found

    def _describe(self, creds: _Creds) -> Ticket:
        decoded = POINTER(_Ticket)()
        kvno = 0  # configuration entries of a cache are not tickets
        if not self._library.krb5_decode_ticket(
            byref(creds, _Creds.ticket.offset), byref(decoded)
        ):
            kvno = decoded.contents.kvno
            self._library.krb5_free_ticket(self._context, decoded)
        return Ticket(
            principal=self._name(c_void_p(creds.client)),
            service=self._name(c_void_p(creds.server)),
            kvno=kvno,
            starttime=creds.starttime or creds.authtime,
            endtime=creds.endtime,
            left_s=creds.endtime - self._now(),
            renew_till=creds.renew_till,
        )

    def _principal(self, name: str) -> c_void_p:
        return self._made("krb5_parse_name", name.encode(), free="krb5_free_principal")

    def _owner(self, cache: c_void_p) -> c_void_p:
        return self._made("krb5_cc_get_principal", cache, free="krb5_free_principal")

    def _name(self, principal: c_void_p) -> str:
        name = c_char_p()
        self._call("krb5_unparse_name", principal, byref(name))
        text = (name.value or b"").decode("utf-8", "replace")
        self._library.krb5_free_unparsed_name(self._context, name)
        return text

    def _keytab(self, path: str) -> c_void_p:
        name = os.fsencode(f"FILE:{path}")
        return self._made("krb5_kt_resolve", name, free="krb5_kt_close")

    def _made(self, function: str, *arguments: Any, free: str) -> c_void_p:
        """Returns the handle that a function makes; `free` is called at the end."""
        handle = c_void_p()
        self._call(function, *arguments, byref(handle))
        self._free_after(free, handle)
        return handle

    def _call(self, function: str, *arguments: Any) -> None:
        """Calls a function that returns a krb5_error_code."""
        code = getattr(self._library, function)(self._context, *arguments)
        if code:
            raise Krb5Error(code, self._text(code))

    def _free_after(self, function: str, handle: Any) -> None:
        self._free.callback(getattr(self._library, function), self._context, handle)

    def _text(self, code: int) -> str:
        message = c_void_p(
            self._library.krb5_get_error_message(self._context, c_int32(code))
        )
        text = ctypes.string_at(message).decode("utf-8", "replace")
        self._library.krb5_free_error_message(self._context, message)
        return text


def _check_times(ticket: Ticket) -> None:
    """Raises Krb5Error unless a ticket is valid now."""
    begin, end = _clock(ticket.starttime), _clock(ticket.endtime)
    now = _clock(ticket.endtime - ticket.left_s)
    if ticket.endtime <= ticket.starttime:  # kinit's clock was a day behind
        raise Krb5Error(SKEW, f"Ticket expired at {end}, before it began at {begin}")
    if ticket.left_s <= 0:
        raise Krb5Error(TICKET_EXPIRED, f"Ticket expired at {end}, now it is {now}")
    if ticket.starttime > ticket.endtime - ticket.left_s + MAX_SKEW_S:
        text = f"Ticket not valid before {begin}, now it is {now}"
        raise Krb5Error(NOT_YET_VALID, text)


def _clock(time_s: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(time_s))
