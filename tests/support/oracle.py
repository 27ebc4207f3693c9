"""A brute-force oracle: compute in plain Python, over all rows, what must be removed and what must stay.

It follows the definition of garbage, not the collector's code: no SQL, no closure of candidates, no batches.
It reads a whole snapshot (`World.snapshot()`), walks from the tags to everything in use, and returns for
every table the rows that are left when the collector has nothing more to do.

What the collector cannot find without a sweep (a dead manifest that no tag, candidate or other
dead manifest leads to) is not in the worlds that it judges: `untraced` tells which those would be.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from model.policy import Policy
from model.storage_paths import EMPTY_LAYER, object_path

Snapshot = dict[str, dict[Any, dict[str, Any]]]
MARKED = 3


@dataclass(frozen=True)
class Verdict:
    """The rows that must be removed, by table, and the objects, as (location, path)."""

    gone: dict[str, set[Any]]
    objects: set[tuple[str, str]]
    dead_digests: list[tuple[int, str]]
    left_digests: set[tuple[int, str]]
    released_digests: set[tuple[int, str]]
    quota: dict[str, dict[int, int]]
    unlinked: set[int]


@dataclass(frozen=True)
class Oracle:
    """Judges one snapshot at one instant under one policy."""

    rows: Snapshot
    now_ms: int
    policy: Policy

    def judge(self) -> Verdict:
        """Return everything that must be removed when the collector has nothing more to do."""
        gone: defaultdict[str, set[Any]] = defaultdict(set)
        gone["tag"] = {id for id, tag in self.rows["tag"].items() if self._unrecoverable(tag)}
        names = {(self.rows["tag"][id]["repository_id"], self.rows["tag"][id]["name"]) for id in gone["tag"]}
        gone["manifest"] = self._dead_manifests(gone["tag"])
        gone["tag"] |= {id for id, tag in self.rows["tag"].items() if tag["manifest_id"] in gone["manifest"]}
        self._followers(gone)
        self._statistics(gone, names)
        self._uploads(gone)
        objects = self._blobs(gone)
        return Verdict(
            gone={table: ids for table, ids in gone.items() if ids},
            objects=objects,
            dead_digests=sorted(
                (self.rows["manifest"][id]["repository_id"], self.rows["manifest"][id]["digest"])
                for id in gone["manifest"]
            ),
            left_digests=self._left(gone, with_pushes=False),
            released_digests=self._left(gone, with_pushes=True),
            quota=self._quota(gone),
            unlinked={
                id
                for id, tag in self.rows["tag"].items()
                if id not in gone["tag"] and tag["linked_tag_id"] in gone["tag"]
            },
        )

    def untraced(self) -> set[int]:
        """Return dead manifests that no expired tag reaches, directly or through other dead manifests.

        After a dead manifest, the collector checks its children and its subject (and its referrers, if they
        go with it); it finds any other dead manifest only if a candidate row names it.
        """
        expired = {id for id, tag in self.rows["tag"].items() if self._unrecoverable(tag)}
        dead = self._dead_manifests(expired)
        edges = {
            (row["manifest_id"], row["child_manifest_id"]) for row in self.rows["manifestchild"].values()
        }
        by_digest = {(m["repository_id"], m["digest"]): id for id, m in self.rows["manifest"].items()}
        for id, manifest in self.rows["manifest"].items():
            subject = by_digest.get((manifest["repository_id"], manifest["subject"]))
            if subject is not None:
                edges |= (
                    {(id, subject), (subject, id)} if self.policy.referrers == "cascade" else {(id, subject)}
                )
        led = {self.rows["tag"][id]["manifest_id"] for id in expired} & dead
        while more := {to for start, to in edges if start in led and to in dead} - led:
            led |= more
        return dead - led

    # ------------------------------------------------------------------ who is collected at all

    def _collectable(self, repository_id: int) -> bool:
        repository = self.rows["repository"][repository_id]
        namespace = self.rows["user"][repository["namespace_user_id"]]
        return bool(namespace["enabled"]) and repository["state"] != MARKED

    def _unrecoverable(self, tag: dict[str, Any]) -> bool:
        if tag["lifetime_end_ms"] is None or not self._collectable(tag["repository_id"]):
            return False
        if tag["immutable"] and self.policy.immutable_tags and not self.policy.immutable_tags_can_expire:
            return False
        owner = self.rows["repository"][tag["repository_id"]]["namespace_user_id"]
        window_ms = self.rows["user"][owner]["removed_tag_expiration_s"] * 1000
        return bool(tag["lifetime_end_ms"] <= self.now_ms - window_ms)

    # -------------------------------------------------------------------------------- manifests

    def _dead_manifests(self, expired: set[Any]) -> set[Any]:
        used = self._used_manifests(expired)
        return {
            id
            for id, manifest in self.rows["manifest"].items()
            if id not in used and self._collectable(manifest["repository_id"])
        }

    def _used_manifests(self, expired: set[Any]) -> set[Any]:
        by_digest = {(m["repository_id"], m["digest"]): id for id, m in self.rows["manifest"].items()}
        used = {
            tag["manifest_id"]
            for id, tag in self.rows["tag"].items()
            if id not in expired and self._counts(tag, by_digest)
        }
        while True:
            more = set(used)
            for link in self.rows["manifestchild"].values():
                if link["manifest_id"] in used:
                    more.add(link["child_manifest_id"])
            for id, manifest in self.rows["manifest"].items():
                subject = by_digest.get((manifest["repository_id"], manifest["subject"]))
                if subject is None:
                    continue
                if self.policy.referrers == "pin" and id in used:
                    more.add(subject)
                if self.policy.referrers == "cascade" and subject in used:
                    more.add(id)
            if more == used:
                return used
            used = more

    def _counts(self, tag: dict[str, Any], by_digest: dict[tuple[int, str], Any]) -> bool:
        """Return whether this tag alone keeps its manifest."""
        manifest = self.rows["manifest"].get(tag["manifest_id"])
        if manifest is None:
            return False
        endless = tag["hidden"] and tag["lifetime_end_ms"] is None
        if self.policy.referrers == "pin" or manifest["subject"] is None or not endless:
            return True
        if (manifest["repository_id"], manifest["subject"]) in by_digest:
            return False
        return bool(tag["lifetime_start_ms"] > self.now_ms - self.policy.referrer_grace_ms)

    # ------------------------------------------------------------------------- what goes with it

    def _followers(self, gone: defaultdict[str, set[Any]]) -> None:
        dead = gone["manifest"]
        for table in ("manifestblob", "manifestlabel", "manifestsecuritystatus"):
            gone[table] = {id for id, row in self.rows[table].items() if row["manifest_id"] in dead}
        gone["manifestchild"] = {
            id
            for id, row in self.rows["manifestchild"].items()
            if row["manifest_id"] in dead or row["child_manifest_id"] in dead
        }
        lost = {self.rows["manifestlabel"][id]["label_id"] for id in gone["manifestlabel"]}
        gone["label"] = lost - {
            row["label_id"]
            for id, row in self.rows["manifestlabel"].items()
            if id not in gone["manifestlabel"]
        }
        gone["tagnotificationsuccess"] = {
            id for id, row in self.rows["tagnotificationsuccess"].items() if row["tag_id"] in gone["tag"]
        }

    def _statistics(self, gone: defaultdict[str, set[Any]], names: set[tuple[int, str]]) -> None:
        alive = {
            (tag["repository_id"], tag["name"])
            for tag in self.rows["tag"].values()
            if tag["lifetime_end_ms"] is None or tag["lifetime_end_ms"] > self.now_ms
        }
        gone["tagpullstatistics"] = {
            id
            for id, row in self.rows["tagpullstatistics"].items()
            if (row["repository_id"], row["tag_name"]) in names - alive
        }
        dead = {
            (self.rows["manifest"][id]["repository_id"], self.rows["manifest"][id]["digest"])
            for id in gone["manifest"]
        }
        gone["manifestpullstatistics"] = {
            id
            for id, row in self.rows["manifestpullstatistics"].items()
            if (row["repository_id"], row["manifest_digest"]) in dead
        }

    def _uploads(self, gone: defaultdict[str, set[Any]]) -> None:
        gone["uploadedblob"] = {
            id
            for id, row in self.rows["uploadedblob"].items()
            if self._collectable(row["repository_id"]) and _ms(row["expires_at"]) <= self.now_ms
        }
        gone["blobupload"] = {
            id
            for id, row in self.rows["blobupload"].items()
            if self._collectable(row["repository_id"])
            and _ms(row["created"]) <= self.now_ms - self.policy.upload_ttl_ms
        }

    # ------------------------------------------------------------------------- blobs and objects

    def _blobs(self, gone: defaultdict[str, set[Any]]) -> set[tuple[str, str]]:
        holders = [
            (table, id, row["blob_id"])
            for table in ("manifestblob", "uploadedblob")
            for id, row in self.rows[table].items()
        ]
        lost = {blob for table, id, blob in holders if id in gone[table]}
        lost |= {row["blob_id"] for row in self.rows["dredge_blob_candidate"].values()}
        held = {blob for table, id, blob in holders if id not in gone[table]}
        gone["imagestorage"] = lost - held
        gone["imagestorageplacement"] = self._of_blobs("imagestorageplacement", gone["imagestorage"])
        gone["imagestoragesignature"] = self._of_blobs("imagestoragesignature", gone["imagestorage"])
        return self._objects(gone)

    def _of_blobs(self, table: str, blobs: Iterable[Any]) -> set[Any]:
        return {id for id, row in self.rows[table].items() if row["storage_id"] in blobs}

    def _objects(self, gone: defaultdict[str, set[Any]]) -> set[tuple[str, str]]:
        locations = {id: row["name"] for id, row in self.rows["imagestoragelocation"].items()}

        def objects(placements: Iterable[dict[str, Any]]) -> set[tuple[str, str]]:
            blobs = [
                (locations[p["location_id"]], self.rows["imagestorage"][p["storage_id"]]) for p in placements
            ]
            return {
                (where, object_path(b["content_checksum"], b["cas_path"], b["uuid"])) for where, b in blobs
            }

        placements = self.rows["imagestorageplacement"]
        doomed = objects(placements[id] for id in gone["imagestorageplacement"])
        kept = objects(row for id, row in placements.items() if id not in gone["imagestorageplacement"])
        chunks = {
            (locations[row["location_id"]], f"uploads/{row['uuid']}")
            for id, row in self.rows["blobupload"].items()
            if id in gone["blobupload"]
        }
        # A row without a placement is a download in progress; its location is unknown.
        placed = {row["storage_id"] for row in placements.values()}
        kept |= {
            (where, object_path(row["content_checksum"], True, ""))
            for id, row in self.rows["imagestorage"].items()
            if id not in placed | gone["imagestorage"] and row["cas_path"] and row["content_checksum"]
            for where in locations.values()
        }
        empty = {(where, object_path(EMPTY_LAYER, True, "")) for where in locations.values()}
        return (doomed - kept - empty) | chunks

    # -------------------------------------------------------------------------------- accounting

    def _references(self, gone: set[Any] | None = None) -> set[tuple[int, int]]:
        """Return (repository, blob) of every `manifestblob` row that stays."""
        return {
            (row["repository_id"], row["blob_id"])
            for id, row in self.rows["manifestblob"].items()
            if id not in (gone or ())
        }

    def _left(self, gone: defaultdict[str, set[Any]], *, with_pushes: bool) -> set[tuple[int, str]]:
        """Return each (repository, digest) that no manifest references any more, but one, or a push, did."""
        before = self._references()
        if with_pushes:
            markers = (self.rows["uploadedblob"][id] for id in gone["uploadedblob"])
            before |= {(row["repository_id"], row["blob_id"]) for row in markers}
        left = before - self._references(gone["manifestblob"])
        return {
            (repository, self.rows["imagestorage"][blob]["content_checksum"]) for repository, blob in left
        }

    def _quota(self, gone: defaultdict[str, set[Any]]) -> dict[str, dict[int, int]]:
        references = self._references(gone["manifestblob"])
        owner = {id: row["namespace_user_id"] for id, row in self.rows["repository"].items()}
        scopes = {
            "quotarepositorysize": references,
            "quotanamespacesize": {(owner[repository], blob) for repository, blob in references},
        }
        columns = {"quotarepositorysize": "repository_id", "quotanamespacesize": "namespace_user_id"}
        return {
            table: {
                id: sum(
                    self.rows["imagestorage"][blob]["image_size"] or 0
                    for scope, blob in pairs
                    if scope == row[columns[table]]
                )
                for id, row in self.rows[table].items()
            }
            for table, pairs in scopes.items()
        }


def _ms(timestamp: str) -> float:
    """Return the milliseconds of one of Quay's timestamps in JSON."""
    return datetime.fromisoformat(timestamp).replace(tzinfo=UTC).timestamp() * 1000
