-- Views for people. Not for writing.
CREATE VIEW talon.agents AS
SELECT s.name,
       s.owner,
       s.deployment_status AS status,
       CASE
           WHEN s.deletion_requested_at IS NOT NULL THEN 'deleting'
           WHEN s.observed_generation = s.generation AND s.deployment_status = 'deployed' THEN 'in sync'
           ELSE 'out of date'
       END AS sync,
       s.generation,
       s.observed_generation,
       s.worker_url AS url,
       s.deployment_error AS error,
       date_trunc('second', now() - s.created_at) AS age
FROM talon.agent_source s
WHERE s.deleted_at IS NULL
ORDER BY s.name;

CREATE VIEW talon.agents_stuck AS
SELECT s.name,
       s.deployment_status AS status,
       c.kind AS condition,
       c.reason,
       c.message,
       c.last_transition_at AS since,
       w.failure_count,
       w.next_due_at
FROM talon.agent_source s
JOIN talon.agent_condition c ON c.agent_id = s.id AND c.status = 'True' AND c.kind IN ('Stalled', 'Held')
LEFT JOIN talon.agent_work w ON w.agent_id = s.id
WHERE s.deleted_at IS NULL
ORDER BY c.last_transition_at;

CREATE VIEW talon.cleanup AS
SELECT s.name AS agent,
       r.kind AS resource,
       r.name AS resource_name,
       r.cleanup_result AS result,
       r.cleanup_error AS error,
       r.cleaned_at,
       s.deletion_requested_at,
       s.deleted_at
FROM talon.agent_source s
JOIN talon.agent_resource r ON r.agent_id = s.id
WHERE s.deletion_requested_at IS NOT NULL
ORDER BY s.deletion_requested_at, s.name, r.kind;

CREATE VIEW talon.leftovers AS
SELECT s.name AS agent,
       s.id AS agent_id,
       r.kind AS resource,
       r.name AS resource_name,
       r.external_id,
       r.cleanup_error AS error,
       s.deleted_at
FROM talon.agent_source s
JOIN talon.agent_resource r ON r.agent_id = s.id
WHERE s.deleted_at IS NOT NULL AND r.cleanup_result = 'failed'
ORDER BY s.deleted_at, s.name, r.kind;

CREATE VIEW talon.recent_events AS
SELECT e.last_at,
       coalesce(s.name, '') AS agent,
       e.severity,
       e.reason,
       e.object,
       e.message,
       e.count,
       e.first_at
FROM talon.agent_event e
LEFT JOIN talon.agent_source s ON s.id = e.agent_id
WHERE e.last_at > now() - interval '7 days'
ORDER BY e.last_at DESC;
