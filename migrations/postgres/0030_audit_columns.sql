-- Who writes an entry, and when, is the database's own to say: the controller's role may name neither (grants.sql).
ALTER TABLE talon.audit_log ALTER COLUMN actor SET DEFAULT session_user;

-- Whoever may write some of an entry's columns is believed in whose name it writes.
CREATE OR REPLACE FUNCTION talon.audit_agent(what text, agent uuid, name text, fields text[]) RETURNS void
    LANGUAGE sql SET search_path = talon, pg_temp AS $$
    INSERT INTO audit_log (actor, principal, source, action, agent_id, object, fields)
    SELECT session_user, CASE WHEN believed THEN nullif(current_setting('talon.actor', true), '') END,
        CASE WHEN believed THEN nullif(current_setting('talon.source', true), '') END, what, agent, name, fields
    FROM has_any_column_privilege(session_user, 'audit_log', 'INSERT') AS believed
$$;
