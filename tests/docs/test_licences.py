"""The licences of what Dredge installs: each is known, and none asks to publish a work that uses it."""

from __future__ import annotations

import re
from importlib.metadata import distribution, requires

from packaging.requirements import Requirement

EXTRAS = ("", "web", "otel", "local")
KNOWN = re.compile(
    r"\b(MIT|Apache|BSD|0BSD|ISC|PSF|Python Software Foundation|MPL|Mozilla|LGPL|Lesser General|Zlib|CC0)\b"
)
# The licences that also bind a program which only uses the package.
BINDING = re.compile(r"\b(AGPL|Affero|GPL-|GNU General)\b")

# Its metadata say nothing; the file LICENSE of its sources is that of MIT.
STATED = {"peewee": "MIT"}


def installed() -> set[str]:
    """Names of everything that the distribution requires at run time, with each extra but `dev`."""
    found: set[str] = set()
    ahead: list[tuple[str, tuple[str, ...]]] = [("quay-dredge", EXTRAS)]
    while ahead:
        name, extras = ahead.pop()
        for text in requires(name) or ():
            need = Requirement(text)
            wanted = need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in extras)
            if wanted and need.name.lower() not in found:
                found.add(need.name.lower())
                ahead.append((need.name, ("", *need.extras)))
    return found


def licence_of(name: str) -> str:
    """What the package's metadata say: the expression, else the classifiers, else the free text."""
    facts = distribution(name).metadata.json
    classifiers = [each for each in facts.get("classifier", ()) if each.startswith("License ::")]
    return str(facts.get("license_expression") or " ".join(classifiers) or facts.get("license", ""))[:200]


def test_every_package_that_dredge_installs_has_a_known_licence_that_does_not_bind_its_users() -> None:
    licences = {name: STATED.get(name) or licence_of(name) for name in installed()}
    assert {"celery", "psycopg2-binary", "fastapi", "opentelemetry-sdk", "vine"} <= set(licences)
    assert {name: text for name, text in licences.items() if not KNOWN.search(text)} == {}
    assert {name: text for name, text in licences.items() if BINDING.search(text)} == {}
