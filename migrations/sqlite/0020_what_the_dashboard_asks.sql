-- The history of an agent asks for the entries of one object: without this, every look would read the whole log.
CREATE INDEX audit_log_object ON audit_log (object, id);

-- Who wants a look: a few among many. Both hold next to nothing while all is well, so that passes pay nothing for them.
CREATE INDEX agent_condition_trouble ON agent_condition (type, reason, agent_id)
  WHERE type IN ('Stalled', 'Held', 'Throttled', 'Drifted') AND status = 'True';
CREATE INDEX agent_condition_waiting ON agent_condition (type, reason, agent_id)
  WHERE reason IN ('AwaitingKeys', 'BackingOff', 'SecretValueMissing', 'SecretOutOfScope', 'SecretRefDiscarded');
