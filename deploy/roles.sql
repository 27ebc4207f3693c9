-- Two roles without a login, with the least rights that Dredge needs in a registry's database.
--
--   dredge_collector   workers, beats and every command but `init` and `sample`
--   dredge_reader      the commands that only look: status, plan, explain, check, fsck, verify and the like
--
-- Run it as the owner of the tables, after `dredge init` and again after each upgrade:
--
--   psql "$OWNER_URL" -f deploy/roles.sql
--   psql "$OWNER_URL" -c "CREATE ROLE dredge_worker LOGIN PASSWORD 'change-me' IN ROLE dredge_collector"
--
-- Idempotent; it takes no right away.  Tables that this registry does not have are left out.
-- `keys` is SELECT on the id and the foreign keys alone: no role reads a token or a password.
-- Nobody but Quay makes namespaces, so an import needs one that is there.
DO $$
DECLARE
    owner_schema text := current_schema();
    wanted record;
    found regclass;
    columns text;
BEGIN
    FOR wanted IN SELECT unnest(ARRAY['dredge_collector', 'dredge_reader']) AS role LOOP
        IF NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = wanted.role) THEN
            EXECUTE format('CREATE ROLE %I NOLOGIN', wanted.role);
        END IF;
        EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', owner_schema, wanted.role);
    END LOOP;

    FOR wanted IN
        SELECT r.role, n.rights, t.name FROM (VALUES
            -- What a tag, a manifest or a blob is, and whom it belongs to.
            ('dredge_collector dredge_reader', 'SELECT', '
                blobupload deletednamespace deletedrepository imagestorage imagestoragelocation
                imagestorageplacement label labelsourcetype manifest manifestblob manifestchild manifestlabel
                manifestpullstatistics mediatype namespaceautoprunepolicy quotanamespacesize
                quotarepositorysize repository repositoryautoprunepolicy repositorykind tag tagkind
                tagpullstatistics uploadedblob visibility'),
            ('dredge_collector dredge_reader',
                'SELECT (id, username, enabled, removed_tag_expiration_s)', 'user'),
            -- `dredge fsck` looks for rows that refer to nothing.
            ('dredge_collector dredge_reader', 'keys', '
                externalnotificationevent externalnotificationmethod imagestoragesignature
                imagestoragesignaturekind manifestsecuritystatus namespacegeorestriction proxycacheconfig
                quotaregistrysize repositorynotification repositorypermission role tagnotificationsuccess team
                teamrole'),
            -- What goes with them.
            ('dredge_collector', 'SELECT', '
                autoprunetaskstatus imagestoragesignature manifestsecuritystatus queueitem
                tagnotificationsuccess'),
            ('dredge_collector', 'UPDATE', '
                autoprunetaskstatus blobupload deletednamespace deletedrepository imagestorage label manifest
                queueitem quotanamespacesize quotarepositorysize repository tag uploadedblob'),
            ('dredge_collector', 'SELECT (email, robot, creation_date)', 'user'),
            ('dredge_collector', 'UPDATE (username, email, enabled)', 'user'),
            ('dredge_collector', 'DELETE', '
                blobupload deletednamespace deletedrepository imagestorage imagestorageplacement
                imagestoragesignature label manifest manifestblob manifestchild manifestlabel
                manifestpullstatistics manifestsecuritystatus queueitem repository tag tagnotificationsuccess
                tagpullstatistics uploadedblob user'),
            -- Deletions that Quay's workers also know; imports, pushes and restored tags.
            ('dredge_collector', 'INSERT', '
                blobupload deletednamespace deletedrepository imagestorage imagestorageplacement label manifest
                manifestblob manifestchild manifestlabel queueitem repository tag uploadedblob'),
            -- What a deleted repository or namespace leaves behind.
            ('dredge_collector', 'keys, DELETE', '
                accesstoken appspecificauthtoken apprtag autoprunetaskstatus emailconfirmation federatedlogin
                namespaceautoprunepolicy namespacegeorestriction namespaceimmutabilitypolicy
                namespacenotification notification oauthaccesstoken oauthapplication oauthassignedtoken
                oauthauthorizationcode organizationcontactemail organizationrhskus orgmirrorconfig
                orgmirrorrepository permissionprototype proxycacheconfig quotalimits quotanamespacesize
                quotanotificationstate quotarepositorysize redhatsubscriptions repomirrorconfig repomirrorrule
                repositoryactioncount repositoryauthorizedemail repositoryautoprunepolicy repositorybuild
                repositorybuildtrigger repositoryimmutabilitypolicy repositorynotification repositorypermission
                repositorysearchscore robotaccountmetadata robotaccounttoken star team teammember
                teammemberinvite teamsync userorganizationquota userprompt userregion'),
            ('dredge_collector', 'UPDATE (linked_tag_id)', 'apprtag'),
            ('dredge_collector', 'UPDATE (write_token_id, pull_robot_id)', 'repositorybuildtrigger'),
            ('dredge_collector', 'UPDATE (trigger_id, pull_robot_id)', 'repositorybuild'),
            ('dredge_collector', 'UPDATE (left_child_id, right_child_id)', 'repomirrorrule')
        ) AS n (roles, rights, tables),
        regexp_split_to_table(n.roles, ' ') AS r (role),
        regexp_split_to_table(btrim(n.tables, E' \n'), '\s+') AS t (name)
        UNION ALL
        -- Dredge's own tables; which migrations were applied is for `dredge init` to write.
        SELECT o.role, CASE WHEN c.relname = 'dredge_migration' THEN 'SELECT' ELSE o.rights END, c.relname
        FROM pg_class c, (VALUES
            ('dredge_collector', 'SELECT, INSERT, UPDATE, DELETE'), ('dredge_reader', 'SELECT')
        ) AS o (role, rights)
        WHERE c.relnamespace = quote_ident(owner_schema)::regnamespace
        AND c.relkind IN ('r', 'p') AND c.relname LIKE 'dredge\_%'
    LOOP
        found := to_regclass(format('%I.%I', owner_schema, wanted.name));
        CONTINUE WHEN found IS NULL;
        SELECT string_agg(format('%I', a.attname), ', ') INTO columns FROM pg_attribute a
        WHERE a.attrelid = found AND NOT a.attisdropped AND (a.attname = 'id' OR EXISTS (
            SELECT FROM pg_constraint f
            WHERE f.conrelid = found AND f.contype = 'f' AND a.attnum = ANY (f.conkey)));
        EXECUTE format('GRANT %s ON TABLE %s TO %I',
            replace(wanted.rights, 'keys', format('SELECT (%s)', columns)), found, wanted.role);
    END LOOP;

    -- A new row takes its id from a sequence.
    FOR wanted IN
        SELECT format('%I.%I', owner_schema, s.relname) AS name FROM pg_class s
        JOIN pg_depend d ON d.objid = s.oid AND d.classid = 'pg_class'::regclass AND d.deptype = 'a'
        WHERE s.relkind = 'S' AND s.relnamespace = quote_ident(owner_schema)::regnamespace
        AND has_table_privilege('dredge_collector', d.refobjid, 'INSERT')
    LOOP
        EXECUTE format('GRANT USAGE ON SEQUENCE %s TO dredge_collector', wanted.name);
    END LOOP;
END
$$;
