"""Faulty answers of known S3 servers, which a test puts in front of a real server.

Each fault concerns the `odd` paths of a request, or the whole request.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from tests.support.servers.unruly import CUT, HANG, Answer, Unruly

Handler = Callable[[str, str, bytes], Answer]
Make = Callable[[Unruly, Sequence[str]], Handler]
_OBJECT = re.compile(rb"<Object>\s*<Key>([^<]*)</Key>.*?</Object>", re.DOTALL)


@dataclass(frozen=True)
class Fault:
    """A fault.  `reason` is the error in an odd key's row during the fault; empty if its object is deleted.

    `all_wait` is True if the other keys wait, too, because the answer concerns the store.  `timeout_s` is
    how long a request waits.
    """

    make: Make
    reason: str = ""
    all_wait: bool = False
    timeout_s: int = 60


def is_bulk(method: str, path: str) -> bool:
    """Return whether a request deletes many objects."""
    return method == "POST" and "delete" in path


def error_of(code: str) -> bytes:
    """Return the body of a refusal."""
    return f"<Error><Code>{code}</Code></Error>".encode() if code else b""


def whole(status: int, code: str = "", *, single: tuple[int, str] | None = None) -> Make:
    """Refuse each bulk delete, and each single delete if `single` has an answer."""

    def make(_server: Unruly, _odd: Sequence[str]) -> Handler:
        def answer(method: str, path: str, _body: bytes) -> Answer:
            if is_bulk(method, path):
                return status, error_of(code)
            if method == "DELETE" and single:
                return single[0], error_of(single[1])
            return None

        return answer

    return make


def body(content: bytes) -> Make:
    """Answer each bulk delete with 200 and this body, and delete nothing."""
    return lambda _server, _odd: lambda method, path, _body: (200, content) if is_bulk(method, path) else None


def silent(answer: Answer, *, single: bool) -> Make:
    """Leave each bulk delete without an answer; with `single`, also single deletes of odd keys."""

    def make(_server: Unruly, odd: Sequence[str]) -> Handler:
        def respond(method: str, path: str, _body: bytes) -> Answer:
            mute = is_bulk(method, path) or (single and method == "DELETE" and path.endswith(tuple(odd)))
            return answer if mute else None

        return respond

    return make


def per_key(
    entry: str, *, single: tuple[int, str] | None = None, delete_odd: bool = False, listed: bool = True
) -> Make:
    """Delete the ordinary keys, and answer `entry` for each odd one, with `{key}` and others filled in.

    `single` is the refusal of a single delete of an odd key.  `listed` tells whether successes have an entry.
    """

    def make(server: Unruly, odd: Sequence[str]) -> Handler:
        def respond(method: str, path: str, body: bytes) -> Answer:
            if method == "DELETE" and path.endswith(tuple(odd)) and single:
                return single[0], error_of(single[1])
            if not is_bulk(method, path):
                return None
            return _answer_bulk(server, path, body, odd, (entry, delete_odd, listed))

        return respond

    return make


def _answer_bulk(
    server: Unruly, path: str, body: bytes, odd: Sequence[str], how: tuple[str, bool, bool]
) -> Answer:
    entry, delete_odd, listed = how
    keys = [key.decode() for key in _OBJECT.findall(body)]
    refused = [key for key in keys if key.endswith(tuple(odd))]

    def ordinary(found: re.Match[bytes]) -> bytes:
        return b"" if found[1].decode() in refused and not delete_odd else found[0]

    left = _OBJECT.sub(ordinary, body)
    if _OBJECT.search(left):
        server.pass_on("POST", path, left, {})
    entries = [entry.format_map(_names(key)) for key in refused]
    entries += [f"<Deleted><Key>{key}</Key></Deleted>" for key in keys if listed and key not in refused]
    return 200, f"<DeleteResult>{''.join(entries)}</DeleteResult>".encode()


def _names(key: str) -> Mapping[str, str]:
    """Return the spellings of a key in known servers' answers."""
    return {"key": key, "bare": key.removeprefix("registry/blobs/"), "encoded": key.replace("/", "%2F")}


def error(code: str, key: str = "{key}") -> str:
    """Return an entry that refuses a key."""
    return f"<Error><Key>{key}</Key><Code>{code}</Code><Message>no</Message></Error>"


_DENIED = (403, "AccessDenied")
FAULTS: dict[str, Fault] = {
    **{
        f"bulk deletes are refused with {status} {code}".strip(): Fault(whole(status, code))
        for status, code in [
            *[(400, "MalformedXML"), (403, "AccessDenied"), (403, ""), (404, "NoSuchKey"), (404, "")],
            *[(405, "MethodNotAllowed"), (411, "MissingContentLength"), (501, "NotImplemented"), (501, "")],
        ]
    },
    "everything is refused": Fault(whole(403, "AccessDenied", single=_DENIED), "AccessDenied", all_wait=True),
    "a missing key is an error": Fault(per_key(error("NoSuchKey"), delete_odd=True)),
    "a single delete of a missing key is an error": Fault(
        per_key(error("InvalidRequest"), delete_odd=True, single=(404, "NoSuchKey"))
    ),
    "no success is listed": Fault(per_key("", delete_odd=True, listed=False)),
    "some keys are neither listed nor deleted": Fault(per_key("")),
    "the answer is empty and nothing is deleted": Fault(body(b"<DeleteResult/>")),
    "the answer is no XML": Fault(body(b"<html>Welcome")),
    **{
        f"single keys are refused with {code}": Fault(per_key(error(code), single=_DENIED), code)
        for code in ("AccessDenied", "InvalidObjectState", "ObjectLocked", "SlowDown", "InternalError")
    },
    "single keys are refused without a code": Fault(per_key(error(""), single=_DENIED), "AccessDenied"),
    "an error has an empty key": Fault(per_key(error("AccessDenied", ""), single=_DENIED), "AccessDenied"),
    "an error lacks the prefix": Fault(
        per_key(error("AccessDenied", "{bare}"), single=_DENIED), "AccessDenied"
    ),
    "an error's key is percent-encoded": Fault(
        per_key(error("AccessDenied", "{encoded}"), single=_DENIED), "AccessDenied"
    ),
    "an error's key begins with a slash": Fault(
        per_key(error("AccessDenied", "/{key}"), single=_DENIED), "AccessDenied"
    ),
    "an error is about a key that nobody asked for": Fault(
        per_key(error("AccessDenied", "somebody/else"), single=_DENIED), "AccessDenied"
    ),
    "an error has neither key nor code": Fault(per_key("<Error/>", single=_DENIED), "AccessDenied"),
    "500 on bulk deletes, single ones work": Fault(whole(500, "InternalError")),
    "504 of a gateway, single ones work": Fault(whole(504)),
    "500 on everything": Fault(
        whole(500, "InternalError", single=(500, "InternalError")), "500", all_wait=True
    ),
    "slow down": Fault(whole(503, "SlowDown"), "fewer requests", all_wait=True),
    "too many requests": Fault(whole(429, "TooManyRequests"), "fewer requests", all_wait=True),
    "silence on bulk deletes": Fault(silent(HANG, single=False), timeout_s=4),
    "silence about single keys": Fault(silent(HANG, single=True), "in time", timeout_s=4),
    "the connection is cut": Fault(silent(CUT, single=False)),
    "the connection is cut for single keys": Fault(silent(CUT, single=True), "Connection"),
}
