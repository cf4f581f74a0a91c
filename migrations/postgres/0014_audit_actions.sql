-- What is asked of agents and of the controller beside a spec is in the audit log as well, whichever way it was asked.

-- A pass that is asked for. Of an agent that is being deleted it means: what could not be cleaned up is tried again.
CREATE FUNCTION talon.audit_reconcile() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = talon, pg_temp AS $$
BEGIN
    PERFORM audit_agent(
        CASE WHEN NEW.deletion_requested_at IS NULL THEN 'reconcile' ELSE 'cleanup_retry' END, NEW.id, NEW.name, '{}'
    );
    RETURN NULL;
END
$$;
CREATE TRIGGER audit_reconcile AFTER UPDATE OF reconcile_requested_at ON talon.agent_source FOR EACH ROW
    WHEN (NEW.reconcile_requested_at IS NOT NULL AND NEW.reconcile_requested_at IS DISTINCT FROM OLD.reconcile_requested_at)
    EXECUTE FUNCTION talon.audit_reconcile();

-- A hold of somebody is in their name; the others are the controller's own. Why it holds may say anything: it is not told.
CREATE FUNCTION talon.audit_hold() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = talon, pg_temp AS $$
BEGIN
    IF NEW.kind <> 'operator' THEN
        INSERT INTO audit_log (actor, principal, action, object) VALUES (session_user, 'controller', 'hold', 'controller');
    ELSE
        PERFORM audit_agent(CASE WHEN NEW.kind IS NULL THEN 'release_hold' ELSE 'hold' END, NULL, 'controller', '{}');
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER audit_hold AFTER UPDATE OF kind ON talon.controller_hold FOR EACH ROW
    WHEN ((OLD.kind IS NULL) <> (NEW.kind IS NULL))
    EXECUTE FUNCTION talon.audit_hold();
