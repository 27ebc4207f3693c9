"""An optional trigger that records an event for every ended tag, also those that Quay or psql ended.

It fires at the commit, when it can see the whole change.  It does nothing in transactions that have called
`mark_own_changes`, because these write their own events.
"""

from __future__ import annotations

from model.db.connection import execute, fetch_one, transaction
from model.events.record import (
    CHANNEL,
    TAG_DELETED,
    TAG_EXPIRY_CHANGED,
    TAG_PERMANENTLY_DELETED,
    TAG_RESTORED,
    TAG_RETARGETED,
)
from model.tag.lock import OWN_CHANGES

FUNCTION = "dredge_tag_ended"
TRIGGER = "dredge_tag_ended"
# Set on the function itself, so that a session cannot change it.
NOTIFY = "dredge.notify"

# SECURITY DEFINER: a role that changes a tag needs no rights on our table.  The function runs with our
# rights, so its search_path is fixed, and tables of the session (pg_temp) come last.
# Sums stop at the largest number of the column.
# A failure is a warning and not an error: events are hints, and a push must not fail because of one.
_OWN_SCHEMA = "SELECT set_config('search_path', quote_ident(current_schema()) || ', pg_temp', true)"
_FUNCTION = f"""
CREATE OR REPLACE FUNCTION {FUNCTION}() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $body$
DECLARE
  now_ms bigint := (extract(epoch from clock_timestamp()) * 1000)::bigint;
  place record;
  later record;
  kind text;
  facts jsonb;
  never_ms CONSTANT numeric := 9223372036854775807;
BEGIN
  IF current_setting('{OWN_CHANGES}', true) = 'on' THEN
    RETURN NULL;
  END IF;
  SELECT u.username AS namespace, r.name AS repository, u.removed_tag_expiration_s * 1000 AS window_ms,
         (SELECT m.digest FROM manifest m WHERE m.id = NEW.manifest_id) AS digest
    INTO place FROM repository r JOIN "user" u ON u.id = r.namespace_user_id WHERE r.id = NEW.repository_id;
  IF NOT FOUND THEN
    RETURN NULL;
  END IF;
  facts := jsonb_build_object('namespace', place.namespace, 'repository', place.repository,
    'repository_id', NEW.repository_id, 'tag', NEW.name, 'digest', place.digest, 'hidden', NEW.hidden,
    'ended_ms', NEW.lifetime_end_ms,
    'recoverable_until_ms', least(NEW.lifetime_end_ms::numeric + place.window_ms, never_ms));
  IF NEW.lifetime_end_ms IS NULL OR NEW.lifetime_end_ms > now_ms THEN
    kind := CASE WHEN OLD.lifetime_end_ms <= now_ms THEN '{TAG_RESTORED}' ELSE '{TAG_EXPIRY_CHANGED}' END;
  ELSIF NEW.lifetime_end_ms::numeric + place.window_ms <= now_ms
        AND (place.window_ms > 0 OR OLD.lifetime_end_ms <= now_ms) THEN
    kind := '{TAG_PERMANENTLY_DELETED}';
  ELSE
    kind := '{TAG_DELETED}';
    SELECT t.lifetime_end_ms AS end_ms, m.digest INTO later FROM (
        SELECT * FROM tag a WHERE a.repository_id = NEW.repository_id AND a.name = NEW.name
          AND a.lifetime_end_ms IS NULL
        UNION ALL
        SELECT * FROM tag a WHERE a.repository_id = NEW.repository_id AND a.name = NEW.name
          AND a.lifetime_end_ms > now_ms
        OFFSET 0) t JOIN manifest m ON m.id = t.manifest_id
      WHERE NOT t.hidden AND NOT NEW.hidden ORDER BY t.id DESC LIMIT 1;
    IF FOUND THEN
      kind := '{TAG_RETARGETED}';
      facts := facts || jsonb_build_object('previous_digest', place.digest, 'digest', later.digest,
        'ended_ms', later.end_ms,
        'recoverable_until_ms', least(later.end_ms::numeric + place.window_ms, never_ms));
    END IF;
  END IF;
  INSERT INTO dredge_event (event_id, type, repository_id, subject, data, created_ms)
    VALUES (gen_random_uuid()::text, kind, NEW.repository_id,
            place.namespace || '/' || place.repository || ':' || NEW.name, facts::text, now_ms);
  IF current_setting('{NOTIFY}', true) IS DISTINCT FROM 'off' THEN
    PERFORM pg_notify('{CHANNEL}', '');
  END IF;
  RETURN NULL;
EXCEPTION WHEN OTHERS THEN
  RAISE WARNING 'dredge: the event of tag %% was not recorded: %%', NEW.name, SQLERRM;
  RETURN NULL;
END
$body$
"""

_TRIGGER = f"""
CREATE CONSTRAINT TRIGGER {TRIGGER} AFTER UPDATE OF lifetime_end_ms ON tag
DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
WHEN (OLD.lifetime_end_ms IS DISTINCT FROM NEW.lifetime_end_ms) EXECUTE FUNCTION {FUNCTION}()
"""


_RIGHTS = f"REVOKE ALL ON FUNCTION {FUNCTION}() FROM PUBLIC"
_NOTIFY = {
    True: f"ALTER FUNCTION {FUNCTION}() RESET {NOTIFY}",
    False: f"ALTER FUNCTION {FUNCTION}() SET {NOTIFY} = 'off'",
}


def install_triggers(*, notify: bool = True) -> bool:
    """Create the trigger on the table of tags.  Returns True if it did not exist.

    Idempotent; a second call updates the function.  Waits at most five seconds for the table's lock, then
    raises `Contended`, because pushes would queue behind it.  Without `notify` the relay finds the events
    when it polls, a second later, and commits that end tags do not wait for each other.
    """
    with transaction():
        execute("SET LOCAL lock_timeout = '5s'")
        fetch_one(_OWN_SCHEMA)
        execute(_FUNCTION)
        execute(_RIGHTS)
        execute(_NOTIFY[notify])
        if triggers_installed():
            return False
        execute(_TRIGGER)
        return True


def remove_triggers() -> bool:
    """Drop the trigger and its function.  Returns False if it did not exist.  Idempotent."""
    with transaction():
        execute("SET LOCAL lock_timeout = '5s'")
        found = triggers_installed()
        if found:
            execute(f"DROP TRIGGER {TRIGGER} ON tag")
        execute(f"DROP FUNCTION IF EXISTS {FUNCTION}()")
        return found


_INSTALLED = """
SELECT count(*) AS n FROM pg_trigger WHERE tgname = %s AND tgrelid = to_regclass('tag')
    AND NOT tgisinternal
"""


def triggers_installed() -> bool:
    """Return whether the table of tags has the trigger; only reads."""
    row = fetch_one(_INSTALLED, (TRIGGER,))
    return bool(row.n)
