// Asks one model, or two beside each other, by the public API, and shows what came, how fast, and what it cost.
(() => {
  const form = document.getElementById("playground");
  if (!form) return;
  const stop = document.getElementById("stop");
  const columns = [...document.querySelectorAll("[data-column]")];
  const field = (name) => form.elements[name];
  let key = null;
  let running = null;

  async function keyOfMine() {
    if (key && Date.parse(key.expires_at) - Date.now() > 60_000) return key.key;
    const answer = await fetch(form.dataset.key, {
      method: "POST",
      headers: { "X-CSRFToken": field("csrfmiddlewaretoken").value },
    });
    if (!answer.ok) throw new Error("Your login has ended: load the page again.");
    key = await answer.json();
    return key.key;
  }

  async function* eventsOf(body) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      rest += value;
      const blocks = rest.split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const name = /^event: (.*)$/m.exec(block)?.[1];
        const data = /^data: (.*)$/m.exec(block)?.[1];
        if (name && data) yield [name, JSON.parse(data)];
      }
    }
  }

  function facts(list, pairs) {
    list.replaceChildren(
      ...pairs
        .filter(([, value]) => value !== null && value !== undefined && value !== "")
        .flatMap(([name, value]) => {
          const term = document.createElement("dt");
          const detail = document.createElement("dd");
          term.textContent = name;
          detail.append(value);
          return [term, detail];
        }),
    );
  }

  function linkTo(requestId) {
    if (!requestId) return null;
    const link = document.createElement("a");
    link.href = `${form.dataset.requests}${encodeURIComponent(requestId)}/`;
    link.textContent = requestId;
    return link;
  }

  function question(column) {
    const body = { message: field("message").value, model: column.querySelector("select").value, stream: true };
    if (field("system").value) body.system = field("system").value;
    if (field("temperature").value) body.temperature = Number(field("temperature").value);
    if (field("max_tokens").value) body.max_tokens = Number(field("max_tokens").value);
    return body;
  }

  async function ask(column, secret, signal) {
    const text = column.querySelector(".playground-text");
    const list = column.querySelector("dl");
    const began = performance.now();
    const passed = () => `${Math.round(performance.now() - began).toLocaleString()} ms`;
    let first = null;
    let requestId = "";
    text.textContent = "";
    text.classList.remove("dash-problem");
    facts(list, [["State", "asked"]]);
    const failed = (message) => {
      text.append(text.textContent ? "\n\n" : "", message);
      text.classList.add("dash-problem");
      facts(list, [["First token", first], ["Ended after", passed()], ["Request", linkTo(requestId)]]);
    };
    try {
      const headers = { "Content-Type": "application/json", Authorization: `Bearer ${secret}` };
      if (field("fresh").checked) headers["Cache-Control"] = "no-cache";
      const answer = await fetch(form.dataset.chat, { method: "POST", headers, body: JSON.stringify(question(column)), signal });
      requestId = answer.headers.get("X-Request-ID") || "";
      if (!answer.ok) return failed((await answer.json()).error.message);
      for await (const [name, data] of eventsOf(answer.body)) {
        if (name === "delta" && data.content) {
          first ??= passed();
          text.append(data.content);
        } else if (name === "error") {
          return failed(data.error.message);
        } else if (name === "completed") {
          const marks = [data.cached && "from the cache", data.fallback && "by a fallback"].filter(Boolean).join(", ");
          facts(list, [
            ["First token", first],
            ["Ended after", passed()],
            ["Tokens", `${data.usage.input_tokens} in, ${data.usage.output_tokens} out`],
            ["Credits", data.credits.charged],
            ["Served by", `${data.model} of ${data.provider}${marks ? ` (${marks})` : ""}`],
            ["Request", linkTo(data.request_id)],
          ]);
        }
      }
    } catch (error) {
      failed(error.name === "AbortError" ? "Stopped: what was delivered is charged." : error.message);
    }
  }

  field("compare").addEventListener("change", () => {
    columns[1].hidden = !field("compare").checked;
  });
  stop.addEventListener("click", () => running?.abort());
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (running) return;
    running = new AbortController();
    stop.hidden = false;
    try {
      const secret = await keyOfMine();
      await Promise.all(columns.filter((column) => !column.hidden).map((column) => ask(column, secret, running.signal)));
    } catch (error) {
      columns[0].querySelector(".playground-text").textContent = error.message;
    } finally {
      running = null;
      stop.hidden = true;
    }
  });
})();
