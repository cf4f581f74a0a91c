-- Views for people. Not for writing.

-- How long ago, in the largest unit that says something.
CREATE FUNCTION talon.age_text(since timestamptz) RETURNS text
    LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE
        WHEN s < 60 THEN s || 's'
        WHEN s < 3600 THEN s / 60 || 'm'
        WHEN s < 86400 THEN s / 3600 || 'h'
        ELSE s / 86400 || 'd'
    END
    FROM greatest(0, extract(epoch FROM now() - since)::bigint) AS s
$$;

CREATE VIEW talon.agents AS
SELECT name,
       deployment_status AS status,
       CASE
           WHEN deletion_requested_at IS NOT NULL THEN 'deleting'
           WHEN suspend THEN 'suspended'
           WHEN observed_generation >= generation AND deployment_status = 'deployed' THEN 'in sync'
           ELSE 'out of date'
       END AS sync,
       generation,
       worker_url AS url,
       deployment_error AS error,
       talon.age_text(created_at) AS age
FROM talon.agent_source
WHERE deleted_at IS NULL
ORDER BY name;

-- What does not move by itself, or has taken too long.
CREATE VIEW talon.agents_stuck AS
SELECT s.name,
       s.deployment_status AS status,
       coalesce(c.reason, CASE WHEN s.deletion_requested_at IS NOT NULL THEN 'Deleting' ELSE 'Failing' END) AS reason,
       coalesce(c.message, s.deployment_error) AS message,
       w.failure_count,
       coalesce(c.last_transition_at, s.deletion_requested_at, w.failing_since) AS since
FROM talon.agent_source s
JOIN talon.agent_work w ON w.agent_id = s.id
LEFT JOIN talon.agent_condition c ON c.agent_id = s.id AND c.type = 'Stalled' AND c.status = 'True'
WHERE s.deleted_at IS NULL
  AND (c.agent_id IS NOT NULL OR s.deployment_status = 'failed'
       OR s.deletion_requested_at < now() - interval '10 minutes')
ORDER BY since;

-- Agent by resource by result, for every agent whose deletion was requested.
CREATE VIEW talon.cleanup AS
SELECT s.name AS agent,
       r.kind,
       r.name,
       CASE
           WHEN r.cleanup_result IS NOT NULL THEN r.cleanup_result
           WHEN r.state = 'absent' THEN 'nothing to do'
           ELSE 'waiting'
       END AS result,
       r.cleanup_error AS error,
       r.cleaned_at,
       s.id AS agent_id
FROM talon.agent_source s
JOIN talon.agent_resource r ON r.agent_id = s.id
WHERE s.deletion_requested_at IS NOT NULL
ORDER BY s.deletion_requested_at DESC, s.name, r.kind;

-- What cleanup could not remove and what therefore may still cost money.
CREATE VIEW talon.leftovers AS
SELECT s.name AS agent, r.kind, r.name, r.external_id, r.cleanup_error AS error, s.deleted_at AS since, s.id AS agent_id
FROM talon.agent_source s
JOIN talon.agent_resource r ON r.agent_id = s.id
WHERE s.deleted_at IS NOT NULL AND r.cleanup_result = 'failed'
ORDER BY s.deleted_at, s.name, r.kind;

CREATE VIEW talon.recent_events AS
SELECT e.last_at, e.severity, coalesce(s.name, 'talon') AS agent, e.reason, e.object, e.count, e.message, e.first_at
FROM talon.agent_event e
LEFT JOIN talon.agent_source s ON s.id = e.agent_id
ORDER BY e.last_at DESC, e.id DESC
LIMIT 200;
