-- The history of an agent asks for the entries of one object: without this, every look would read the whole log.
CREATE INDEX audit_log_object ON talon.audit_log (object, id);
