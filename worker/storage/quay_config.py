"""Translate Quay's storage configuration into the settings with which Dredge reaches the same objects."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import yaml

from model.errors import BadInput
from worker.storage.open import open_store

Parameters = Mapping[str, Any]
_GOOGLE = "https://storage.googleapis.com"
_ROLE = "it assumes a role: give this process the role, in AWS_ROLE_ARN or a profile of ~/.aws/config"
_NO_SWIFT = (
    "Dredge does not speak Swift: use the S3 API of the same cluster (s3api), with RadosGWStorage's form"
)


@dataclass(frozen=True)
class Location:
    """One location: its URL without secrets, the content of its credentials file, and notes."""

    name: str
    driver: str
    url: str
    credentials: str = field(default="", repr=False)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class StorageConfig:
    """All locations, and the one where new blobs are written."""

    locations: tuple[Location, ...]
    upload: str


def read_storage_config(path: Path) -> StorageConfig:
    """Read Quay's `config.yaml`.  Raises `BadInput` if it has no storage that Dredge can reach."""
    try:
        config = yaml.safe_load(path.read_text())
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise BadInput(f"{path} is not YAML") from None
    found = config.get("DISTRIBUTED_STORAGE_CONFIG") if isinstance(config, dict) else None
    if not isinstance(found, dict) or not found:
        raise BadInput(f"{path} has no DISTRIBUTED_STORAGE_CONFIG")
    locations = tuple(translate(str(name), value) for name, value in found.items())
    preferred = [str(name) for name in config.get("DISTRIBUTED_STORAGE_PREFERENCE") or ()]
    known = [name for name in preferred if name in found]
    return StorageConfig(locations, known[0] if known else locations[0].name)


def translate(name: str, value: object) -> Location:
    """Translate one entry of DISTRIBUTED_STORAGE_CONFIG, `[driver, parameters]`.  Raises `BadInput`."""
    if not (isinstance(value, list) and len(value) == 2 and isinstance(value[1], dict)):
        raise BadInput("A storage location of Quay is a list of a driver and its parameters", location=name)
    driver, parameters = str(value[0]), value[1]
    if driver == "SwiftStorage":
        raise BadInput(_NO_SWIFT, location=name)
    if driver not in DRIVERS:
        raise BadInput("Dredge does not know this driver of Quay's", location=name, driver=driver)
    try:
        url, credentials, notes = DRIVERS[driver](parameters)
    except KeyError as error:
        raise BadInput(f"The storage location lacks {error.args[0]}", location=name, driver=driver) from None
    if "," in url:
        raise BadInput("A storage URL cannot contain a comma", location=name)
    open_store(url)
    return Location(name, driver, url, credentials, notes)


Translated = tuple[str, str, tuple[str, ...]]


def _local(given: Parameters) -> Translated:
    return "file://" + quote("/" + str(given["storage_path"]).strip("/")), "", ()


def _bucket(scheme: str, bucket: str, given: Parameters, options: Mapping[str, str]) -> str:
    prefix = quote(str(given.get("storage_path") or "").strip("/"))
    chosen = {name: value for name, value in options.items() if value}
    return f"{scheme}://{bucket}/{prefix}" + (f"?{urlencode(chosen, safe=':/')}" if chosen else "")


def _aws_file(access: object, secret: object, token: object = None) -> str:
    if not access or not secret:
        return ""
    lines = ["[default]", f"aws_access_key_id = {access}", f"aws_secret_access_key = {secret}"]
    return "\n".join([*lines, *([f"aws_session_token = {token}"] if token else []), ""])


def _endpoint(host: object, port: object = None, secure: object = True) -> str:
    if not host:
        return ""
    text = str(host)
    if "://" not in text:
        text = f"{'https' if secure in (True, None) else 'http'}://{text}"
    return text.rstrip("/") + (f":{port}" if port else "")


def _s3(given: Parameters) -> Translated:
    endpoint = given.get("endpoint_url") or _endpoint(given.get("host"), given.get("port"))
    url = _bucket(
        "s3",
        str(given["s3_bucket"]),
        given,
        {"endpoint": endpoint, "region": str(given.get("s3_region") or "")},
    )
    token = given.get("aws_session_token")
    notes = ("its session token ends: prefer a role of the machine",) if token else ()
    return url, _aws_file(given.get("s3_access_key"), given.get("s3_secret_key"), token), notes


def _sts(given: Parameters) -> Translated:
    return _s3(given)[0], "", (_ROLE,)


def _radosgw(given: Parameters) -> Translated:
    endpoint = _endpoint(given["hostname"], given.get("port"), given.get("is_secure", True))
    url = _bucket("s3", str(given["bucket_name"]), given, {"endpoint": endpoint})
    return url, _aws_file(given.get("access_key"), given.get("secret_key")), ()


def _google(given: Parameters) -> Translated:
    """Translate to `s3://`: Quay uses Google's S3 API with interoperability keys, and so does Dredge."""
    url = _bucket("s3", str(given["bucket_name"]), given, {"endpoint": _GOOGLE})
    return url, _aws_file(given.get("access_key"), given.get("secret_key")), ()


def _azure(given: Parameters) -> Translated:
    account, endpoint = str(given["azure_account_name"]), str(given.get("endpoint_url") or "")
    url = _bucket("az", str(given["azure_container"]), given, {"account": account, "endpoint": endpoint})
    lines = [f"AccountName={account}"]
    if key := given.get("azure_account_key"):
        lines.append(f"AccountKey={key}")
    elif token := given.get("sas_token"):
        lines.append(f"SharedAccessSignature={token}")
    return url, ";".join(lines) + "\n" if len(lines) > 1 else "", ()


def _multi_cdn(given: Parameters) -> Translated:
    """Translate the default provider; the others only serve reads of the same bucket."""
    driver, parameters = given["providers"][given["default_provider"]]
    if driver not in DRIVERS:
        raise KeyError("default_provider")
    path = {"storage_path": given["storage_path"]} if "storage_path" in given else {}
    return DRIVERS[driver]({**path, **parameters})


DRIVERS: Mapping[str, Callable[[Parameters], Translated]] = {
    "LocalStorage": _local,
    "S3Storage": _s3,
    "CloudFrontedS3Storage": _s3,
    "CloudFlareStorage": _s3,
    "AkamaiS3Storage": _s3,
    "STSS3Storage": _sts,
    "RadosGWStorage": _radosgw,
    "RHOCSStorage": _radosgw,
    "IBMCloudStorage": _radosgw,
    "GoogleCloudStorage": _google,
    "AzureStorage": _azure,
    "MultiCDNStorage": _multi_cdn,
}
