-- References to secrets: what is not a reference is thrown away before it reaches a page, the write-ahead log or a log
-- line. Nothing here raises: a rejected statement would stand in the server's log, key and all.

-- Whether a text starts like an API key of a known provider (core: secret::looks_like_key).
CREATE FUNCTION talon.looks_like_key(s text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT s ~ '\A(sk-|sk_|sai_|xai-|gsk_|AIza|ghp_|github_pat_|hf_|AKIA|xoxb-|pplx-)'
$$;

-- Whether a text is a reference, or the word that stands where one was thrown away (store: columns::is_reference).
CREATE FUNCTION talon.is_reference(s text) RETURNS boolean
    LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
    SELECT CASE
        WHEN s IS NULL THEN false
        WHEN s = 'discarded' THEN true
        WHEN s ~ '\Aenv:' THEN s ~ '\Aenv:[A-Z][A-Z0-9_]{0,127}\Z' AND NOT talon.looks_like_key(substr(s, 5))
        WHEN s ~ '\Afile:' THEN
            s ~ '\Afile:[A-Za-z0-9._-]{1,128}\Z' AND s NOT IN ('file:.', 'file:..')
            AND NOT talon.looks_like_key(substr(s, 6))
        WHEN s ~ '\Avault:' THEN
            s ~ '\Avault:[A-Za-z0-9/_.-]{1,255}#[A-Za-z0-9_.-]{1,64}\Z'
            AND NOT talon.looks_like_key(substr(s, 7)) AND NOT talon.looks_like_key(split_part(s, '#', 2))
        ELSE false
    END
$$;

-- Cleans the references of a row. An entry that is none becomes the word `discarded`; an entry whose provider cannot be
-- kept either becomes the entry `discarded`; a text that is no JSON object leaves `kept` (the references the row had)
-- as it was, beside such an entry, so that nothing is taken from the Worker by mistake.
CREATE FUNCTION talon.clean_references(given text, kept text, OUT clean text, OUT discarded boolean)
    LANGUAGE plpgsql IMMUTABLE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    parsed json;
    entry record;
    target text;
    seen text[] := '{}';
    result jsonb := '{}';
BEGIN
    discarded := false;
    IF octet_length(given) > 4096 THEN
        RAISE data_exception;
    END IF;
    -- An escaped NUL fits no text; what it stands in is no reference either way.
    parsed := replace(given, '\u0000', '\ufffd')::json;
    IF json_typeof(parsed) <> 'object' THEN
        RAISE data_exception;
    END IF;
    FOR entry IN SELECT key, value FROM json_each(parsed) LOOP
        BEGIN
            target := CASE WHEN json_typeof(entry.value) = 'string' THEN entry.value #>> '{}' END;
        EXCEPTION WHEN OTHERS THEN
            target := NULL;
        END;
        IF entry.key !~ '\A[a-z][a-z0-9_]{0,31}\Z' OR talon.looks_like_key(entry.key) THEN
            result := result || '{"discarded": "discarded"}';
            discarded := true;
        ELSIF NOT talon.is_reference(target) OR entry.key = ANY (seen) THEN
            result := result || jsonb_build_object(entry.key, 'discarded');
            discarded := true;
        ELSE
            result := result || jsonb_build_object(entry.key, target);
            discarded := discarded OR target = 'discarded';
        END IF;
        seen := seen || entry.key;
    END LOOP;
    clean := result::text;
EXCEPTION WHEN OTHERS THEN
    clean := (coalesce(kept, '{}')::jsonb || '{"discarded": "discarded"}')::text;
    discarded := true;
END
$$;
