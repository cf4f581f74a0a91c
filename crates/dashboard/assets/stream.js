// One connection to the server, shared by all tabs of the browser.
"use strict";
const ports = new Set();
let source = null;
let state = { kind: "lost" };

function tell(message) {
  state = message;
  for (const port of ports) port.postMessage(message);
}

function open() {
  source = new EventSource("/ui/stream");
  const heard = (kind) => (event) => tell({ kind, seq: Number(event.data) });
  source.addEventListener("change", heard("change"));
  source.addEventListener("trouble", heard("trouble"));
  source.onerror = () => {
    tell({ kind: "lost" });
    if (source.readyState === EventSource.CLOSED) {
      source = null;
      setTimeout(() => { if (ports.size && !source) open(); }, 5000);
    }
  };
}

onconnect = (event) => {
  const port = event.ports[0];
  ports.add(port);
  port.onmessage = ({ data }) => {
    if (data === "bye") {
      ports.delete(port);
      if (!ports.size && source) { source.close(); source = null; }
    }
  };
  port.start();
  if (source) port.postMessage(state);
  else open();
};
