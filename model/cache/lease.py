"""The two steps of a lease as Lua scripts.  Each uses one key, so it is atomic in a cluster, too."""

from __future__ import annotations

import hashlib
from typing import NamedTuple


class Script(NamedTuple):
    """A script and the hash by which the server finds it."""

    source: str
    sha: str


def _script(source: str) -> Script:
    return Script(source, hashlib.sha1(source.encode()).hexdigest())


# ARGV: the entry that the caller saw ('' if empty), the new value, its TTL in milliseconds.
# If the entry is empty or as the caller saw it, stores the value and returns nil; else returns the entry.
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

# ARGV: the caller's lease, the value, its TTL in milliseconds (0: delete the entry).
# If the lease is gone, changes nothing: an invalidation or a newer loader has replaced it.
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
