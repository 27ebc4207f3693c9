"""Clair v4: the security scanner whose reports of dead manifests are deleted."""

from __future__ import annotations

import base64
import binascii
import time

import httpx
import jwt

from model.errors import RegistryError

TIMEOUT_S = 5.0
TOKEN_LIFE_S = 300


class ScannerUnavailable(RegistryError):
    """The security scanner did not answer."""

    retryable = True


class Scanner:
    """A Clair v4 indexer, requests signed with its pre-shared key.

    https://quay.github.io/clair/reference/api.html
    """

    def __init__(self, url: str, psk: str) -> None:
        """Use the key `psk` of Clair's configuration, in base64; empty if Clair needs none."""
        try:
            self._key = base64.b64decode(psk, validate=True) if psk else b""
        except binascii.Error as error:
            raise ScannerUnavailable("DREDGE_CLAIR_PSK is not base64") from error
        self._client = httpx.Client(base_url=url.rstrip("/"), timeout=TIMEOUT_S)

    def delete_report(self, digest: str) -> None:
        """Delete the index report of a manifest.  A missing report is not an error.  Idempotent.

        Raises `ScannerUnavailable`.
        """
        try:
            answer = self._client.delete(f"/indexer/api/v1/index_report/{digest}", headers=self._headers())
        except httpx.HTTPError as error:
            raise ScannerUnavailable(f"The security scanner did not answer: {error}") from error
        if not (answer.is_success or answer.status_code == httpx.codes.NOT_FOUND):
            raise ScannerUnavailable(f"The security scanner answered {answer.status_code}", digest=digest)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _headers(self) -> dict[str, str]:
        if not self._key:
            return {}
        now = int(time.time())
        claims = {"iss": "quay", "iat": now, "exp": now + TOKEN_LIFE_S}
        return {"Authorization": "Bearer " + jwt.encode(claims, self._key, algorithm="HS256")}
