-- What the Router keeps: the vectors of skills, and what tells cheaply whether anything that a search may find has changed.

-- A vector for each skill of a card, by each embedding model in use; little-endian 32-bit floats. They count only while the
-- card is the one that they were made from.
CREATE TABLE talon.skill_embedding (
    agent_id   uuid NOT NULL REFERENCES talon.agent_source (id),
    model      text NOT NULL,
    position   integer NOT NULL,
    skill_id   text NOT NULL,
    card_hash  text NOT NULL,
    dimensions integer NOT NULL,
    vector     bytea NOT NULL,
    PRIMARY KEY (agent_id, model, position)
);

-- Every change to a card draws a new random stamp; the number of cards and the sum of their stamps tell whether any has
-- changed. (A counter would do on a database with one writer; here all passes would queue for its row.)
ALTER TABLE talon.agent_card ADD COLUMN stamp bigint NOT NULL DEFAULT floor(random() * 1e15);
ALTER TABLE talon.hosted_agent ADD COLUMN stamp bigint NOT NULL DEFAULT floor(random() * 1e15);
CREATE INDEX agent_card_stamp ON talon.agent_card (stamp);
CREATE INDEX hosted_agent_stamp ON talon.hosted_agent (stamp);

CREATE FUNCTION talon.stamp_card() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.stamp := floor(random() * 1e15);
    RETURN NEW;
END
$$;
CREATE TRIGGER stamp_card BEFORE UPDATE OF card, hash ON talon.agent_card
    FOR EACH ROW WHEN (NEW.card::text IS DISTINCT FROM OLD.card::text OR NEW.hash <> OLD.hash)
    EXECUTE FUNCTION talon.stamp_card();
CREATE TRIGGER stamp_card BEFORE UPDATE OF owner, public, card ON talon.hosted_agent
    FOR EACH ROW WHEN (NEW.owner <> OLD.owner OR NEW.public <> OLD.public
        OR NEW.card::text IS DISTINCT FROM OLD.card::text)
    EXECUTE FUNCTION talon.stamp_card();

-- An archived agent is found no more, and a self-hosted one of its name may be found again.
CREATE FUNCTION talon.stamp_archive() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = talon, pg_temp AS $$
BEGIN
    UPDATE agent_card SET stamp = floor(random() * 1e15) WHERE agent_id = NEW.id;
    UPDATE hosted_agent SET stamp = floor(random() * 1e15) WHERE name = NEW.name;
    RETURN NULL;
END
$$;
CREATE TRIGGER stamp_archive AFTER UPDATE OF deleted_at ON talon.agent_source
    FOR EACH ROW WHEN (NEW.deleted_at IS DISTINCT FROM OLD.deleted_at) EXECUTE FUNCTION talon.stamp_archive();

-- Vectors go with their card.
CREATE FUNCTION talon.drop_vectors() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = talon, pg_temp AS $$
BEGIN
    DELETE FROM skill_embedding WHERE agent_id = OLD.agent_id;
    RETURN NULL;
END
$$;
CREATE TRIGGER drop_vectors AFTER DELETE ON talon.agent_card
    FOR EACH ROW EXECUTE FUNCTION talon.drop_vectors();
