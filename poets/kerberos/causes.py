"""What to do about MIT's errors, in terms of the job's flags and files.

The library's own text names exactly what it found. `CURES` adds what to do.
"""

from poets.kerberos.krb5_conf import Krb5Conf

TICKET_EXPIRED = -1765328352  # KRB5KRB_AP_ERR_TKT_EXPIRED
NOT_YET_VALID = -1765328351  # KRB5KRB_AP_ERR_TKT_NYV
BAD_FORMAT = -1765328248  # KRB5_CONFIG_BADFORMAT
NO_CACHE = -1765328189  # KRB5_FCC_NOFILE
PROFILE_ERRORS = range(-1429577728, -1429577472)  # of prof_err.h
KCM_ERRORS = range(-1750600192, -1750599936)  # of the library's KCM client

SET_CLOCK = "set this machine's clock: {kdcs} has another time"
EITHER_CLOCK = f"{SET_CLOCK}, or the ticket's maker had"
OTHER_KEY = (
    "the key of {principal} in {keytab} (version {kvno}) is not the KDC's, which may "
    "have been changed since: export the keytab again"
)
OR_KEYTAB = (
    "or give a principal and its keytab (--kerberos_principal, --kerberos_keytab)"
)
OR_FILE = f"name a cache that is a file (KRB5CCNAME=FILE:/path), {OR_KEYTAB}"
NO_TICKET_CACHE = f"it is not a ticket cache: {OR_FILE}"

CURES = {  # code of krb5.h -> what to do
    -1765328378: (  # KRB5KDC_ERR_C_PRINCIPAL_UNKNOWN
        "the KDC {kdcs} does not know {principal}: check name and realm, or add it "
        "there"
    ),
    -1765328377: (  # KRB5KDC_ERR_S_PRINCIPAL_UNKNOWN
        "the server's address and the name of its service differ: use the host name "
        "that the server's own principal has"
    ),
    -1765328370: (  # KRB5KDC_ERR_ETYPE_NOSUPP
        "KDC and client share no kind of key: an old KDC may have des3 or arcfour keys "
        "alone, so make aes keys there and export the keytab again"
    ),
    -1765328366: "have {principal} unlocked at the KDC",  # .._ERR_CLIENT_REVOKED
    -1765328383: "have the expiry of {principal} extended at the KDC",  # NAME_EXP
    -1765328361: (  # KRB5KDC_ERR_KEY_EXP
        "change the key of {principal} and export the keytab again"
    ),
    -1765328360: OTHER_KEY,  # KRB5KDC_ERR_PREAUTH_FAILED
    -1765328353: OTHER_KEY,  # KRB5KRB_AP_ERR_BAD_INTEGRITY
    TICKET_EXPIRED: (
        "run kinit again, or give a keytab (--kerberos_keytab) from which tickets are "
        "renewed; if it is not that late, set this machine's clock"
    ),
    NOT_YET_VALID: EITHER_CLOCK,
    -1765328347: SET_CLOCK,  # KRB5KRB_AP_ERR_SKEW
    -1765328236: SET_CLOCK,  # KRB5_KDCREP_SKEW
    -1765328230: (  # KRB5_REALM_UNKNOWN
        "name the KDC of realm {realm} in krb5.conf (KRB5_CONFIG), or by "
        "service.security.kerberos.kdc"
    ),
    -1765328228: (  # KRB5_KDC_UNREACH
        "the KDC {kdcs} cannot be reached: check that it runs, its port, and the "
        "firewall"
    ),
    -1765328203: (  # KRB5_KT_NOTFOUND
        "export a key of {principal} into {keytab}, of a kind that this library "
        "accepts (aes)"
    ),
    NO_CACHE: f"run kinit, {OR_KEYTAB}",
    -1765328190: f"let this user read it, {OR_KEYTAB}",  # KRB5_FCC_PERM
    -1765328185: NO_TICKET_CACHE,  # KRB5_CC_FORMAT
    -1765328172: NO_TICKET_CACHE,  # KRB5_CCACHE_BADVNO
    -1765328244: (  # KRB5_CC_UNKNOWN_TYPE
        "this library has no caches of that type, but FILE, DIR and MEMORY, and "
        f"usually KCM and KEYRING: {OR_FILE}"
    ),
    -1765328243: "run kinit again, or give a keytab (--kerberos_keytab)",  # CC_NOTFOUND
    -1765328160: (  # KRB5_CONFIG_NODEFREALM
        "give the principal with its realm, or name default_realm in krb5.conf "
        "(KRB5_CONFIG)"
    ),
    BAD_FORMAT: "correct {files} (KRB5_CONFIG)",
    -1765328249: "check KRB5_CONFIG",  # KRB5_CONFIG_CANTOPEN
}
CACHE_CURES = {  # type of a cache that cannot be used -> what to do
    "KCM": (
        "a KCM cache is kept by a daemon (sssd-kcm), and none answers here: start it, "
        "or mount its socket /var/run/.heim_org.h5l.kcm-socket into this container; "
        f"otherwise {OR_FILE}"
    ),
    "KEYRING": (
        "a KEYRING cache is in the kernel's memory, of one user or session, and no "
        f"container sees another's: run kinit here, {OR_FILE}"
    ),
    "DIR": (
        "a DIR cache is a folder, in which kinit made a ticket: mount it into this "
        f"container, or run kinit here; otherwise {OR_FILE}"
    ),
    "MEMORY": f"a MEMORY cache ends with the process that made it: {OR_FILE}",
}
OTHERWISE = "look the error up in the KDC's log, or set KRB5_TRACE=/dev/stderr"


def realm_of(principal: str | None) -> str | None:
    """Returns the realm of a principal that has one."""
    name, at, realm = (principal or "").rpartition("@")
    return realm if at and name else None


def kdcs_text(conf: Krb5Conf, principal: str | None) -> str:
    """Returns the KDCs of a principal, as "h:88, i:88 of realm R"."""
    realm = realm_of(principal) or conf.default_realm
    known = conf.kdcs.get(realm or "", [])
    addresses = ", ".join(f"{host}:{port}" for host, port in known)
    addresses = addresses or "none is configured"
    return f"{addresses} of realm {realm}" if realm else addresses
