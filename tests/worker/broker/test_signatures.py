"""Why messages are not signed: what SECURITY.md says about Celery's `auth` serializer."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import SecurityError
from celery.security.certificate import Certificate, FSCertStore
from celery.security.key import PrivateKey
from celery.security.serialization import SecureSerializer
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID


@pytest.fixture
def signer(tmp_path: Path) -> Any:
    """Celery's serializer with a certificate that it trusts."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "dredge")])
    begins = datetime.now(UTC) - timedelta(days=1)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 7, begins, begins + timedelta(days=9))
        .sign(key, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )
    (tmp_path / "c.pem").write_bytes(certificate)
    store = FSCertStore(str(tmp_path / "c.pem"))
    return SecureSerializer(PrivateKey(pem), Certificate(certificate), store, digest="sha256")


def test_a_signature_of_celery_covers_the_arguments_and_not_the_name_of_the_task(signer: Any) -> None:
    message = Celery("any").amqp.as_task_v2("an-id", "worker.tasks.garbage_collect_repo", (7,))
    assert message.headers["task"] == "worker.tasks.garbage_collect_repo"
    signed = signer.serialize(message.body)
    assert "garbage_collect_repo" not in json.dumps(message.body)
    # A worker takes the task from the headers, and only the arguments from what was signed: the same bytes
    # are as valid under the name of another task, and a second time.
    message.headers["task"] = "worker.tasks.purge_repository"
    for _ in range(2):
        assert signer.deserialize(signed) == json.loads(json.dumps(message.body))


def test_changed_arguments_are_refused(signer: Any) -> None:
    signed = signer.serialize([[7], {}, {}])
    with pytest.raises(SecurityError):
        signer.deserialize(signed[:40] + ("A" if signed[40] != "A" else "B") + signed[41:])
