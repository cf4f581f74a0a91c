// Stands in for the runtime where that was not built: the final bindings, no behaviour.
import identity from "./IDENTITY.md";
import { DurableObject } from "cloudflare:workers";

export class OpenClawAgent extends DurableObject {
  async fetch() {
    return Response.json({ agent: this.env.AGENT_NAME, identityLength: identity.length });
  }
}

export default {
  async fetch(request, env) {
    const { pathname } = new URL(request.url);
    if (request.method === "GET" && pathname === "/healthz") {
      return Response.json({ name: env.AGENT_NAME });
    }
    return new Response("Not found", { status: 404 });
  },
};
