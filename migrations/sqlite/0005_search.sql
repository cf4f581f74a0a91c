-- What the Router keeps: the vectors of skills, and a number that moves with every change to what a search may find.

-- A vector for each skill of a card, by each embedding model in use; little-endian 32-bit floats. They count only while the
-- card is the one that they were made from.
CREATE TABLE skill_embedding (
  agent_id TEXT NOT NULL REFERENCES agent_source (id),
  model TEXT NOT NULL,
  position INTEGER NOT NULL,
  skill_id TEXT NOT NULL,
  card_hash TEXT NOT NULL,
  dimensions INTEGER NOT NULL,
  vector BLOB NOT NULL,
  PRIMARY KEY (agent_id, model, position)
) STRICT, WITHOUT ROWID;

CREATE TABLE cards_version (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  version INTEGER NOT NULL
) STRICT;
INSERT INTO cards_version VALUES (1, 0);

CREATE TRIGGER cards_version_card_insert AFTER INSERT ON agent_card BEGIN
  UPDATE cards_version SET version = version + 1;
END;
CREATE TRIGGER cards_version_card_update AFTER UPDATE ON agent_card
WHEN NEW.card IS NOT OLD.card OR NEW.hash IS NOT OLD.hash BEGIN
  UPDATE cards_version SET version = version + 1;
END;
CREATE TRIGGER cards_version_card_delete AFTER DELETE ON agent_card BEGIN
  UPDATE cards_version SET version = version + 1;
  DELETE FROM skill_embedding WHERE agent_id = OLD.agent_id;
END;
CREATE TRIGGER cards_version_archive AFTER UPDATE OF deleted_at ON agent_source
WHEN NEW.deleted_at IS NOT OLD.deleted_at BEGIN
  UPDATE cards_version SET version = version + 1;
END;
CREATE TRIGGER cards_version_hosted_insert AFTER INSERT ON hosted_agent BEGIN
  UPDATE cards_version SET version = version + 1;
END;
CREATE TRIGGER cards_version_hosted_update AFTER UPDATE OF owner, public, card ON hosted_agent
WHEN NEW.owner IS NOT OLD.owner OR NEW.public IS NOT OLD.public OR NEW.card IS NOT OLD.card BEGIN
  UPDATE cards_version SET version = version + 1;
END;
CREATE TRIGGER cards_version_hosted_delete AFTER DELETE ON hosted_agent BEGIN
  UPDATE cards_version SET version = version + 1;
END;
