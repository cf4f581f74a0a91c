-- Whoever asks for the deletion of an agent ends what is asked of it, in the same transaction. Again when it is archived: a
-- task that was being stored at the moment of the request was not seen then. No lock joins the two, because a deletion in a
-- transaction that somebody leaves open must not keep the Hub waiting. Runs with the owner's rights, because writers have
-- none on tasks.
CREATE FUNCTION talon.end_tasks_of_deleted() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = talon, pg_temp AS $$
BEGIN
    UPDATE task SET state = 'failed', answer = 'the agent is being deleted', finished_at = clock_timestamp()
    WHERE agent = NEW.name AND finished_at IS NULL;
    RETURN NULL;
END
$$;

CREATE TRIGGER end_tasks_of_deleted AFTER UPDATE ON talon.agent_source
    FOR EACH ROW WHEN ((OLD.deletion_requested_at IS NULL AND NEW.deletion_requested_at IS NOT NULL)
        OR (OLD.deleted_at IS NULL AND NEW.deleted_at IS NOT NULL))
    EXECUTE FUNCTION talon.end_tasks_of_deleted();

-- Those whose deletion was requested before this rule.
UPDATE talon.task SET state = 'failed', answer = 'the agent is being deleted', finished_at = clock_timestamp()
WHERE finished_at IS NULL
    AND agent IN (SELECT name FROM talon.agent_source WHERE deletion_requested_at IS NOT NULL AND deleted_at IS NULL);
