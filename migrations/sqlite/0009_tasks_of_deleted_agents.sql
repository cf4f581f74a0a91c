-- Whoever asks for the deletion of an agent ends what is asked of it, in the same transaction.
CREATE TRIGGER deletion_ends_tasks AFTER UPDATE OF deletion_requested_at ON agent_source
WHEN OLD.deletion_requested_at IS NULL AND NEW.deletion_requested_at IS NOT NULL
BEGIN
  UPDATE task SET state = 'failed', answer = 'the agent is being deleted', finished_at = strftime('%Y-%m-%dT%H:%M:%fZ','now')
  WHERE agent = NEW.name AND finished_at IS NULL;
END;

-- Those whose deletion was requested before this rule.
UPDATE task SET state = 'failed', answer = 'the agent is being deleted', finished_at = strftime('%Y-%m-%dT%H:%M:%fZ','now')
WHERE finished_at IS NULL
  AND agent IN (SELECT name FROM agent_source WHERE deletion_requested_at IS NOT NULL AND deleted_at IS NULL);
