"""What each PostgreSQL error code means: try again later, never, or a broken installation.

https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

from __future__ import annotations

from model.errors import Verdict

# By class, which is the code's first two characters; then the codes that differ from their class.
_CLASSES = {
    Verdict.NOT_NOW: (
        *("08", "40", "53", "57", "58", "72"),  # connection, rollback, resources, operator, system
        "55",  # objects in use, locks that are not given
    ),
    Verdict.NEVER: (
        *("00", "01", "02", "03", "09", "20", "21", "22", "23", "24", "27", "2F", "38", "39", "44", "54"),
        *("10", "HV", "P0", "XX"),  # XPath and JSON, foreign data, triggers of others, corrupted rows
    ),
    Verdict.BROKEN: (
        *(
            "0A",
            "0B",
            "0F",
            "0L",
            "0P",
            "0Z",
            "25",
            "26",
            "28",
            "2B",
            "2D",
            "34",
            "3B",
            "3D",
            "3F",
            "42",
            "F0",
        ),
    ),
}
_CODES = {
    "25006": Verdict.NOT_NOW,  # read-only: a standby after a failover
    "25P03": Verdict.NOT_NOW,  # idle in a transaction for too long
    "25P04": Verdict.NOT_NOW,  # a transaction that took too long
    "55P02": Verdict.BROKEN,  # a parameter that cannot be changed now
    "55P04": Verdict.BROKEN,  # a new value of an enumeration
    "55000": Verdict.NEVER,  # an object that is not in a state for this
    "57P04": Verdict.BROKEN,  # the database was dropped
    "58P01": Verdict.BROKEN,  # a file of the installation is missing
    "58P02": Verdict.BROKEN,  # a file of the installation is there twice
}
# What PostgreSQL says when it refuses a connection for good; libpq keeps no code of such an error.  A server
# that speaks another language (`lc_messages`) is taken for one that does not answer now.
_REFUSALS = (
    ("authentication failed for user", "28P01"),
    ("no password supplied", "28P01"),
    ("no pg_hba.conf entry for", "28000"),
    ("is not permitted to log in", "28000"),
    ("permission denied for database", "42501"),
    ("does not exist", "3D000"),
)
_BY_CLASS = {prefix: verdict for verdict, prefixes in _CLASSES.items() for prefix in prefixes}

READ_ONLY = "25006"
CANCELED = "57014"
CONTENTION = frozenset({"40001", "40002", "40P01", "55P03"})
MISSING = frozenset({"42P01", "42703"})


def sort(code: str | None) -> Verdict:
    """Return the verdict on an error with this SQLSTATE; None means that the connection failed."""
    if not code:
        return Verdict.NOT_NOW
    return _CODES.get(code) or _BY_CLASS.get(code[:2], Verdict.NEVER)


def of_refusal(text: str) -> str | None:
    """Return the SQLSTATE of a refused connection from its message, or None if it may end by itself."""
    return next((code for words, code in _REFUSALS if words in text), None)


def is_listed(code: str) -> bool:
    """Return whether the table above lists this code or its class."""
    return code in _CODES or code[:2] in _BY_CLASS
