-- What is asked of agents and of the controller beside a spec is in the audit log as well, whichever way it was asked.

-- A pass that is asked for. Of an agent that is being deleted it means: what could not be cleaned up is tried again.
CREATE TRIGGER audit_reconcile AFTER UPDATE OF reconcile_requested_at ON agent_source
WHEN (SELECT writing FROM talon_internal) = 0 AND NEW.reconcile_requested_at IS NOT NULL
  AND NEW.reconcile_requested_at IS NOT OLD.reconcile_requested_at
BEGIN
  INSERT INTO audit_log (at, actor, source, action, object)
  SELECT strftime('%Y-%m-%dT%H:%M:%fZ','now'), a.name, a.source,
    CASE WHEN NEW.deletion_requested_at IS NULL THEN 'reconcile' ELSE 'cleanup_retry' END, NEW.name
  FROM talon_actor a;
END;

-- A hold of somebody is in their name; the others are the controller's own. Why it holds may say anything: it is not told.
CREATE TRIGGER audit_hold AFTER UPDATE OF kind ON controller_hold
WHEN (OLD.kind IS NULL) <> (NEW.kind IS NULL)
BEGIN
  INSERT INTO audit_log (at, actor, source, action, object)
  SELECT strftime('%Y-%m-%dT%H:%M:%fZ','now'),
    CASE WHEN NEW.kind <> 'operator' THEN 'controller' ELSE a.name END,
    CASE WHEN NEW.kind <> 'operator' THEN NULL ELSE a.source END,
    CASE WHEN NEW.kind IS NULL THEN 'release_hold' ELSE 'hold' END, 'controller'
  FROM talon_actor a;
END;
