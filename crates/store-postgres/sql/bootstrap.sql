-- Roles, schema and search path of one Talon database. Idempotent; outside the migrations, because roles belong to the
-- whole cluster and making them may need more rights than Talon has. `talon migrate` runs this where it may; otherwise
-- an administrator runs it once, connected to Talon's database:  psql -f bootstrap.sql
--
-- The roles can log in but have no password: give them one with \password, or grant them to users you have.
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['talon_owner', 'talon_controller', 'talon_writer', 'talon_reader'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            EXECUTE format('CREATE ROLE %I %s', wanted, CASE WHEN wanted = 'talon_owner' THEN 'NOLOGIN' ELSE 'LOGIN' END);
        END IF;
    END LOOP;
    FOREACH wanted IN ARRAY ARRAY['talon_controller', 'talon_writer', 'talon_reader'] LOOP
        EXECUTE format('ALTER ROLE %I SET search_path = talon, public', wanted);
    END LOOP;
    -- A transaction left open in a shell must not keep an agent's row locked for ever.
    ALTER ROLE talon_writer SET idle_in_transaction_session_timeout = '60s';
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE NOTICE 'no right to create the roles talon_owner, talon_controller, talon_writer and talon_reader';
    WHEN duplicate_object OR unique_violation THEN
        RAISE NOTICE 'somebody else is creating the roles';
END
$$;

-- The daemon writes a spec only where somebody asks for it over HTTP, and then as talon_writer (SET LOCAL ROLE): by itself
-- its role has none of a writer's rights. Before PostgreSQL 16 that is a property of the whole role.
DO $$
BEGIN
    IF current_setting('server_version_num')::integer >= 160000 THEN
        EXECUTE 'GRANT talon_writer TO talon_controller WITH INHERIT FALSE, SET TRUE';
    ELSE
        ALTER ROLE talon_controller NOINHERIT;
        GRANT talon_writer TO talon_controller;
    END IF;
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'no right to let talon_controller become talon_writer';
END
$$;

-- A statement that fails stands in the server's log at default settings: a key pasted into one that fails for another
-- reason (a name that is taken) would be in it. Only a superuser may say so, and without it `--hardening` is the way.
DO $$
BEGIN
    ALTER ROLE talon_writer SET log_min_error_statement = 'panic';
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'no right to keep the failing statements of talon_writer out of the log';
END
$$;

-- Whoever runs this acts as talon_owner to migrate. (Since PostgreSQL 16, having created a role is not enough for that.)
DO $$
BEGIN
    IF NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
        EXECUTE format('GRANT talon_owner TO %I', current_user);
    END IF;
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'no right to grant talon_owner';
END
$$;

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'talon') THEN
        CREATE SCHEMA talon AUTHORIZATION talon_owner;
    END IF;
EXCEPTION
    WHEN insufficient_privilege OR undefined_object THEN
        RAISE NOTICE 'no right to create the schema talon for talon_owner';
END
$$;

-- So that `agent_source` resolves for everybody who connects to this database.
DO $$
BEGIN
    EXECUTE format('ALTER DATABASE %I SET search_path = talon, public', current_database());
EXCEPTION
    WHEN insufficient_privilege THEN
        RAISE NOTICE 'no right to set the search path of this database';
END
$$;
