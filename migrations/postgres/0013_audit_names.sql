-- In whose name a transaction writes is anybody's to set. It counts for those who could write the log themselves (whoever
-- serves the HTTP API, and the owner); of everybody else the log shows under which name they are known to the database.
CREATE OR REPLACE FUNCTION talon.audit_agent(what text, agent uuid, name text, fields text[]) RETURNS void
    LANGUAGE sql SET search_path = talon, pg_temp AS $$
    INSERT INTO audit_log (actor, principal, source, action, agent_id, object, fields)
    SELECT session_user, CASE WHEN believed THEN nullif(current_setting('talon.actor', true), '') END,
        CASE WHEN believed THEN nullif(current_setting('talon.source', true), '') END, what, agent, name, fields
    FROM has_table_privilege(session_user, 'audit_log', 'INSERT') AS believed
$$;
