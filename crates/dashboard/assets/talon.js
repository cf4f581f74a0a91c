// What script adds to pages that work without it: live updates, shortcuts, a form and a manifest that follow each other.
"use strict";
(() => {
  const $ = (selector, from = document) => from.querySelector(selector);
  const $$ = (selector, from = document) => [...from.querySelectorAll(selector)];
  const body = document.body;
  const live = $("#live");
  document.documentElement.classList.add("js");
  document.addEventListener("click", copied);
  if (!live) return;

  // ---- commands that can be copied ----

  async function copied(event) {
    const button = event.target.closest?.("[data-copy]");
    if (!button) return;
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
    } catch {
      // Without https browsers give no clipboard: the command is selected instead.
      getSelection().selectAllChildren(button.previousElementSibling);
      return;
    }
    button.classList.add("done");
    if ($("#say")) $("#say").textContent = "Copied";
    setTimeout(() => button.classList.remove("done"), 1500);
  }

  // ---- the newer page into this one, leaving focus, open menus and typed text alone ----

  const key = (node) => (node.nodeType === 1 ? node.id || node.dataset.key || node.tagName : node.nodeName);

  function morph(from, to) {
    if (from.nodeType !== 1) {
      if (from.data !== to.data) from.data = to.data;
      return;
    }
    for (const { name, value } of [...to.attributes]) {
      if (from.getAttribute(name) !== value && !(name === "tabindex" || name === "aria-expanded")) from.setAttribute(name, value);
    }
    for (const { name } of [...from.attributes]) {
      if (!to.hasAttribute(name) && name !== "open" && name !== "class") from.removeAttribute(name);
    }
    if (from.isEqualNode(to)) return;
    const waiting = [...from.childNodes];
    let at = 0;
    for (const wanted of [...to.childNodes]) {
      const found = waiting.findIndex((node, i) => i >= at && key(node) === key(wanted));
      if (found === -1) {
        from.insertBefore(wanted, waiting[at] || null);
        waiting.splice(at, 0, wanted);
      } else {
        const [node] = waiting.splice(found, 1);
        if (found !== at) from.insertBefore(node, waiting[at] || null);
        waiting.splice(at, 0, node);
        morph(node, wanted);
      }
      at += 1;
    }
    for (const node of waiting.slice(at)) node.remove();
  }

  const keys = (region) => $$("[data-key]", region).map((node) => node.dataset.key);
  let held = null;

  function update(region, next) {
    const flash = region.hasAttribute("data-keyed")
      ? new Map($$("[data-key]", region).map((row) => [row.dataset.key, row.innerText]))
      : null;
    morph(region, next);
    if (!flash) return;
    for (const row of $$("[data-key]", region)) {
      row.classList.remove("flash");
      const was = flash.get(row.dataset.key);
      if (was !== undefined && was.replace(/\d+[smhd]\b/g, "") !== row.innerText.replace(/\d+[smhd]\b/g, "")) {
        void row.offsetWidth;
        row.classList.add("flash");
      }
    }
  }

  const toast = $("#toast");
  toast.addEventListener("click", () => {
    if (held) update(...held);
    held = null;
    toast.hidden = true;
  });

  // A row never moves under the pointer: another order waits until it is asked for.
  function apply(fresh) {
    for (const region of $$("[data-live]")) {
      const next = fresh.getElementById(region.id);
      if (!next) { region.replaceChildren(); continue; }
      if (region.hasAttribute("data-keyed")) {
        const [old, now] = [keys(region), keys(next)];
        if (old.length && old.join() !== now.join()) {
          const changed = now.filter((k) => !old.includes(k)).length + old.filter((k) => !now.includes(k)).length;
          held = [region, next.cloneNode(true)];
          toast.textContent = changed ? `${changed} ${changed === 1 ? "update" : "updates"} – show` : "New order – show";
          toast.hidden = false;
          for (const row of $$("[data-key]", next)) {
            const mine = $$("[data-key]", region).find((r) => r.dataset.key === row.dataset.key);
            if (mine) morph(mine, row);
          }
          continue;
        }
      }
      update(region, next);
    }
    for (const region of $$("[data-live]", fresh)) {
      if (!document.getElementById(region.id) && region.id === "attention") {
        const place = $(".two > .stack");
        if (place) place.prepend(region);
      }
    }
    body.dataset.seq = fresh.body.dataset.seq;
    body.dataset.refresh = fresh.body.dataset.refresh;
    if (document.title !== fresh.title) document.title = fresh.title;
    announce();
  }

  // ---- what is said aloud: at most once in five seconds ----

  let told = $("#health")?.innerText || $("#title .pill")?.innerText || "";
  let quietUntil = 0;
  function announce() {
    const now = $("#health")?.innerText || $("#title .pill")?.innerText || "";
    if (now === told || Date.now() < quietUntil) return;
    told = now;
    quietUntil = Date.now() + 5000;
    const urgent = $("#health .bad") || $("#title .pill.failed");
    $(urgent ? "#shout" : "#say").textContent = now;
  }

  // ---- asking for the newer page ----

  let busy = false;
  let again = false;
  let last = "";
  let lostAt = 0;
  const pause = $("#pause");
  const paused = () => pause.getAttribute("aria-pressed") === "true";

  function say(state, word) {
    if (live.dataset.state === state && state !== "lost") return;
    live.dataset.state = state;
    $("#live-word").textContent = word;
    body.classList.toggle("stale", state === "lost");
  }

  const well = () => { lostAt = 0; if (!paused()) say("live", "live"); };
  function lost() {
    lostAt ||= Date.now();
    const seconds = Math.round((Date.now() - lostAt) / 1000);
    say("lost", `live updates lost ${seconds}s ago – retrying`);
  }
  setInterval(() => { if (lostAt && !paused()) lost(); }, 1000);

  async function refresh() {
    if (paused() || document.hidden || !$("[data-live]")) return;
    if (busy) { again = true; return; }
    busy = true;
    try {
      const answer = await fetch(location.href, { headers: { "x-talon-live": "1" } });
      if (answer.status === 401) { location.reload(); return; }
      if (!answer.ok) throw new Error(answer.status);
      const text = await answer.text();
      if (text !== last) apply(new DOMParser().parseFromString(text, "text/html"));
      last = text;
      body.dataset.fetched = Date.now();
      if (connected) well();
    } catch {
      lost();
    } finally {
      busy = false;
      if (again) { again = false; setTimeout(refresh, 150); }
    }
  }

  let asked = Date.now();
  setInterval(() => {
    if (Date.now() - asked >= 1000 * Number(body.dataset.refresh || 15)) { asked = Date.now(); refresh(); }
  }, 250);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });

  // ---- the stream ----

  let connected = false;
  function hear({ kind, seq }) {
    connected = kind === "change";
    if (!connected) { lost(); return; }
    const news = seq !== Number(body.dataset.seq) || lostAt;
    well();
    if (news) refresh();
  }

  // A page that the browser kept may show what its visitor may no longer see.
  addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });

  if (window.SharedWorker) {
    const worker = new SharedWorker(body.dataset.stream);
    worker.port.onmessage = ({ data }) => hear(data);
    worker.port.start();
    addEventListener("pagehide", () => worker.port.postMessage("bye"));
  } else {
    const source = new EventSource("/ui/stream");
    for (const kind of ["change", "trouble"]) source.addEventListener(kind, (event) => hear({ kind, seq: Number(event.data) }));
    source.onerror = () => hear({ kind: "lost" });
  }

  pause.hidden = false;
  pause.addEventListener("click", () => {
    const on = !paused();
    pause.setAttribute("aria-pressed", String(on));
    $("span", pause).textContent = on ? "Go on" : "Pause";
    if (on) say("paused", "paused");
    else { live.dataset.state = ""; connected ? well() : lost(); refresh(); }
  });
  say("off", "connecting…");

  // ---- an agent's lines as they come ----

  const logs = $("#logs[data-lines]");
  if (logs) followLines();

  function followLines() {
    const MOST = 1000;
    const [box, list, word, show, button] = ["box", "list", "word", "held", "pause"].map((part) => $(`#logs-${part}`, logs));
    // The controller's lines are kept for whoever comes back; a Worker's are not.
    const areKept = !logs.dataset.lines.includes("worker");
    let place = logs.dataset.place;
    let source = null;
    let waiting = [];
    let timer = 0;
    const holds = () => paused() || button.getAttribute("aria-pressed") === "true";

    function come({ data, lastEventId }) {
      if (lastEventId) place = lastEventId;
      waiting.push(data);
      if (waiting.length > MOST) waiting.shift();
      if (holds()) count();
      else timer ||= setTimeout(flush, 250);
    }

    // Who reads further up stays there.
    let isAtEnd = true;
    const toEnd = () => { box.scrollTop = box.scrollHeight; };
    box.addEventListener("scroll", () => { isAtEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 24; });
    addEventListener("resize", () => { if (isAtEnd) toEnd(); });

    function count() {
      const many = waiting.length === MOST ? `${MOST} or more` : waiting.length;
      show.textContent = `${many} new ${waiting.length === 1 ? "line" : "lines"} – show`;
      show.hidden = !waiting.length;
    }

    function flush() {
      clearTimeout(timer);
      timer = 0;
      const fresh = [...new DOMParser().parseFromString(waiting.join(""), "text/html").body.children];
      waiting = [];
      count();
      if (!fresh.length) return;
      list.append(...fresh);
      for (const old of [...list.children].slice(0, -MOST)) old.remove();
      $("#logs-empty", logs).hidden = true;
      if (isAtEnd) toEnd();
      aloud(fresh);
    }

    // What is said aloud of them: how many, and the last, at most once in five seconds.
    let unsaid = 0;
    let voice = 0;
    function aloud(fresh) {
      unsaid += fresh.length;
      voice ||= setTimeout(() => {
        voice = 0;
        const last = list.lastElementChild;
        const level = last.matches(".at-error, .at-warn") ? `${$(".level", last).textContent}: ` : "";
        $("#say").textContent = `${unsaid} new ${unsaid === 1 ? "line" : "lines"}. Last: ${level}${$(".text", last).textContent.slice(0, 200)}`;
        unsaid = 0;
      }, 5000);
    }

    let isOpen = false;
    function tell() {
      logs.dataset.state = !isOpen ? "lost" : holds() ? "paused" : "live";
      word.textContent = { live: "Live: lines are shown as they come.", paused: "Paused: new lines wait.", lost: "Not connected: trying again." }[logs.dataset.state];
    }

    function open() {
      if (source || (areKept && document.hidden)) return;
      source = new EventSource(`${logs.dataset.lines}&after=${encodeURIComponent(place)}`);
      source.addEventListener("line", come);
      source.onopen = () => { isOpen = true; tell(); };
      source.onerror = () => {
        isOpen = false;
        tell();
        // Browsers give up for good when they are refused.
        if (source.readyState === EventSource.CLOSED) { source = null; setTimeout(open, 5000); }
      };
    }

    // Each takes a connection, and a browser has few for one server.
    document.addEventListener("visibilitychange", () => {
      if (document.hidden && areKept && source) { source.close(); source = null; }
      else open();
    });
    addEventListener("pagehide", () => source?.close());

    button.hidden = false;
    button.addEventListener("click", () => {
      const on = button.getAttribute("aria-pressed") !== "true";
      button.setAttribute("aria-pressed", String(on));
      $("span", button).textContent = on ? "Go on" : "Pause lines";
      settle();
    });
    function settle() {
      if (holds()) { clearTimeout(timer); timer = 0; count(); }
      else flush();
      if (isOpen) tell();
    }
    pause.addEventListener("click", settle);
    show.addEventListener("click", () => { flush(); toEnd(); box.focus(); });
    toEnd();
    word.textContent = "Connecting…";
    open();
  }

  // ---- colours, without loading the page again ----

  const theme = $("#theme");
  theme.addEventListener("click", (event) => {
    event.preventDefault();
    const dark = theme.value === "dark";
    document.documentElement.dataset.theme = theme.value;
    document.cookie = `theme=${theme.value}; path=/; max-age=31536000; samesite=lax`;
    theme.value = dark ? "light" : "dark";
    $("span", theme).textContent = dark ? "Light" : "Dark";
  });
  if (!document.documentElement.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches) {
    theme.value = "light";
    $("span", theme).textContent = "Light";
  }

  // ---- what stands there until a slow page comes ----

  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[href]");
    if (!link || link.target || link.origin !== location.origin || link.hash || event.defaultPrevented) return;
    if (event.button || event.ctrlKey || event.metaKey || event.shiftKey) return;
    setTimeout(() => {
      const bones = ["head", "strip", "body"].map((part) => Object.assign(document.createElement("span"), { className: `skeleton ${part}` }));
      const word = Object.assign(document.createElement("p"), { className: "sr", textContent: "Loading", role: "status" });
      const main = $("#main");
      main.setAttribute("aria-busy", "true");
      for (const child of [...main.children]) if (child.id !== "say" && child.id !== "shout" && child.id !== "toast") child.hidden = true;
      main.append(word, ...bones);
    }, 400);
  });

  // ---- keys ----

  const typing = (node) => /^(input|textarea|select)$/i.test(node.tagName);
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const search = $("#search input[type=search]");
    if (event.key === "/" && search && !typing(event.target)) { event.preventDefault(); search.focus(); search.select(); return; }
    const item = event.target.closest?.("[role=treeitem]");
    if (item) { tree(event, item); return; }
    if ((event.key === "ArrowDown" || event.key === "ArrowUp") && event.target.closest?.(".rows, #search")) {
      const links = $$(".rows a.name");
      const at = links.indexOf(event.target) + (event.key === "ArrowDown" ? 1 : -1);
      const next = at < 0 ? search : links[at];
      if (next) { event.preventDefault(); next.focus(); }
    }
  });

  function tree(event, item) {
    const root = item.closest("[role=tree]");
    const shown = $$("[role=treeitem]", root).filter((node) => !node.parentElement.closest("[aria-expanded=false]"));
    const at = shown.indexOf(item);
    const group = $(":scope > [role=group]", item);
    const open = item.getAttribute("aria-expanded") === "true";
    const toggle = (on) => { item.setAttribute("aria-expanded", String(on)); group.hidden = !on; };
    let next = null;
    switch (event.key) {
      case "ArrowDown": next = shown[at + 1]; break;
      case "ArrowUp": next = shown[at - 1]; break;
      case "Home": next = shown[0]; break;
      case "End": next = shown[shown.length - 1]; break;
      case "ArrowRight": if (group && !open) toggle(true); else if (group) next = $("[role=treeitem]", group); break;
      case "ArrowLeft": if (group && open) toggle(false); else next = item.parentElement.closest("[role=treeitem]"); break;
      case "Enter": case " ": if (group) toggle(!open); break;
      default: return;
    }
    event.preventDefault();
    if (next) {
      for (const node of $$("[role=treeitem]", root)) node.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    }
  }

  // ---- views that are kept in this browser ----

  const keep = $("#keep");
  const views = $("#views");
  if (keep) {
    const read = () => { try { return JSON.parse(localStorage.getItem("talon-views")) || []; } catch { return []; } };
    const here = location.pathname + location.search;
    const draw = () => {
      const list = read();
      views.hidden = !list.length;
      views.replaceChildren(...list.map(({ name, href }) => {
        const link = Object.assign(document.createElement("a"), { href, textContent: name, className: "btn small" });
        return link;
      }));
      $("span", keep).textContent = list.some((v) => v.href === here) ? "Forget view" : "Save view";
    };
    keep.hidden = !location.search;
    keep.addEventListener("click", () => {
      const list = read();
      const at = list.findIndex((v) => v.href === here);
      if (at >= 0) list.splice(at, 1);
      else list.push({ href: here, name: [...new URLSearchParams(location.search)].filter(([k]) => k !== "after").map(([, v]) => v).join(" · ") });
      try { localStorage.setItem("talon-views", JSON.stringify(list.slice(-8))); } catch { /* a browser that keeps nothing */ }
      draw();
    });
    draw();
  }

  // ---- form and manifest follow each other ----

  const editor = $("#editor");
  if (editor) {
    let timer = 0;
    let run = 0;
    const rehearse = async (from) => {
      const mine = ++run;
      const data = new URLSearchParams(new FormData(editor));
      data.set("do", from);
      const answer = await fetch(editor.action, { method: "POST", body: data, headers: { "x-talon-live": "1" } }).catch(() => null);
      if (mine !== run || !answer?.ok) return;
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (mine !== run) return;
      $("#plan").replaceChildren(...$("#plan", fresh).childNodes);
      if (from === "plan-form") {
        if (!$(".refused", fresh)) $("#yaml").value = $("#yaml", fresh).value;
      } else {
        for (const field of $$("#fields [name]")) {
          const other = $(`#fields [name=${field.name}]`, fresh);
          if (!other) continue;
          if (field.type === "checkbox") field.checked = other.checked;
          else field.value = other.value;
        }
      }
    };
    const later = (from) => { clearTimeout(timer); timer = setTimeout(() => rehearse(from), 400); };
    $("#form").addEventListener("input", () => later("plan-form"));
    $("#yaml").addEventListener("input", () => later("plan-yaml"));
  }

  // A value that was sent is not left in the page.
  for (const form of $$("form[data-clear]")) {
    form.addEventListener("submit", () => setTimeout(() => form.reset()));
  }
})();
