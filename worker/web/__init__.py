"""The status page and the HTTP API: `dredge web`, behind the extra `[web]`."""
