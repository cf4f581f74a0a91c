// The Worker's front door. Everything but the name is for the controller only.

import type { Env } from "./env.ts";

export { OpenClawAgent } from "./agent.ts";

export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const { pathname } = new URL(request.url);
    switch (`${request.method} ${pathname}`) {
      case "GET /healthz":
        return Response.json({ name: env.AGENT_NAME });
      case "POST /wake":
        if (!(await authorised(request, env))) return unauthorised();
        return Response.json(await agent(env).wake());
      case "GET /status":
        if (!(await authorised(request, env))) return unauthorised();
        return Response.json(await agent(env).status());
      default:
        return new Response("Not found\n", { status: 404 });
    }
  },
} satisfies ExportedHandler<Env>;

function agent(env: Env): DurableObjectStub<import("./agent.ts").OpenClawAgent> {
  return env.AGENT.get(env.AGENT.idFromName("agent"));
}

function unauthorised(): Response {
  return new Response("Unauthorized\n", { status: 401, headers: { "www-authenticate": "Bearer" } });
}

/** Compares digests, so that neither content nor length of the token shows in the time it takes. */
async function authorised(request: Request, env: Env): Promise<boolean> {
  if (!env.CONTROL_TOKEN) return false;
  const given = await digest(request.headers.get("authorization") ?? "");
  const wanted = await digest(`Bearer ${env.CONTROL_TOKEN}`);
  return crypto.subtle.timingSafeEqual(given, wanted);
}

function digest(text: string): Promise<ArrayBuffer> {
  return crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
}
