-- INSERT OR REPLACE takes a row away without asking the trigger that keeps it: an id that is there is not given again.
-- Without an id the database chooses one, and says so by none or by one that is never chosen.
CREATE TRIGGER audit_new BEFORE INSERT ON audit_log
WHEN NEW.id > 0 AND EXISTS (SELECT 1 FROM audit_log WHERE id = NEW.id)
BEGIN
  SELECT RAISE(ABORT, 'TALON-OC017 the audit log is append-only');
END;
