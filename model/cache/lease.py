"""The two steps of a lease as Lua, each on one key: atomic on one server and in a cluster."""

from __future__ import annotations

import hashlib
from typing import NamedTuple


class Script(NamedTuple):
    """A script and the name under which the server remembers it."""

    source: str
    sha: str


def _script(source: str) -> Script:
    return Script(source, hashlib.sha1(source.encode()).hexdigest())


# ARGV: what the caller saw there ('' for nothing), the new value, its milliseconds.
# Nothing or what was seen is replaced, and the answer is nil; anything else stays, and is the answer.
SWAP = _script(
    """
local now = redis.call('GET', KEYS[1])
if not now or now == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
  return false
end
return now
"""
)

# ARGV: the caller's lease, the value, its milliseconds (0: leave nothing).
# Without the lease nothing happens: an invalidation or a newer loader has been here since.
SETTLE = _script(
    """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
if ARGV[3] == '0' then
  redis.call('DEL', KEYS[1])
else
  redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
end
return 1
"""
)
