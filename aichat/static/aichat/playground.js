// Asks one model, or two beside each other, by the public API, and shows what came, how fast, and what it cost.
(() => {
  const form = document.getElementById("playground");
  if (!form) return;
  const stop = document.getElementById("stop");
  const columns = [...document.querySelectorAll("[data-column]")];
  const field = (name) => form.elements[name];
  field("picture").hasChangeListener = true; // keeps unfold from writing the file's name into a field that is not here
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

  const given = () => field("picture").files[0];
  const modelOf = (column) => column.querySelector("select").value;
  const makesPictures = (column) => column.querySelector("select").selectedOptions[0].dataset.kind === "image";

  const parameters = (names) =>
    Object.fromEntries(names.filter((name) => field(name).value).map((name) => [name, Number(field(name).value)]));

  const addressOf = (file) =>
    new Promise((resolve, reject) => {
      const reader = new FileReader();
      reader.onload = () => resolve(reader.result);
      reader.onerror = () => reject(new Error("The picture can't be read."));
      reader.readAsDataURL(file);
    });

  // The request for a column: its path, and its body as an object, or as a form when it has a file.
  async function question(column) {
    const message = field("message").value;
    const model = modelOf(column);
    const picture = given();
    if (makesPictures(column) && picture) {
      const body = new FormData();
      for (const [name, value] of [["prompt", message], ["model", model], ["image", picture]]) body.append(name, value);
      return ["v1/images/edits", body];
    }
    if (makesPictures(column)) return ["api/v1/images", { prompt: message, model }];
    const options = parameters(["temperature", "max_tokens"]);
    const system = field("system").value;
    if (!picture) return ["api/v1/chat", { message, model, stream: true, ...options, ...(system && { system }) }];
    const content = [
      { type: "text", text: message },
      { type: "image_url", image_url: { url: await addressOf(picture) } },
    ];
    const messages = [...(system ? [{ role: "system", content: system }] : []), { role: "user", content }];
    return ["v1/chat/completions", { model, messages, ...options }];
  }

  // What an answer in one piece holds: its text, and the addresses of its pictures.
  function contentOf(data) {
    const message = data.choices?.[0].message;
    if (message) return [message.content || "", (message.images || []).map((image) => image.image_url.url)];
    const pictures = data.images?.map((image) => image.url) || data.data.map((image) => `data:image/png;base64,${image.b64_json}`);
    return ["", pictures];
  }

  function show(text, said, pictures) {
    text.append(said);
    for (const address of pictures) {
      const image = document.createElement("img");
      image.src = address;
      image.alt = field("message").value;
      text.append(image);
    }
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
    const completed = (usage, credits, server, marks) => {
      const said = marks.filter(Boolean).join(", ");
      facts(list, [
        ["First token", first],
        ["Ended after", passed()],
        ["Tokens", usage && `${usage.input_tokens ?? usage.prompt_tokens} in, ${usage.output_tokens ?? usage.completion_tokens} out`],
        ["Credits", credits],
        ["Served by", `${server}${said ? ` (${said})` : ""}`],
        ["Request", linkTo(requestId)],
      ]);
    };
    try {
      const [path, body] = await question(column);
      const headers = { Authorization: `Bearer ${secret}` };
      if (!(body instanceof FormData)) headers["Content-Type"] = "application/json";
      if (field("fresh").checked) headers["Cache-Control"] = "no-cache";
      const sent = body instanceof FormData ? body : JSON.stringify(body);
      const answer = await fetch(form.dataset.api + path, { method: "POST", headers, body: sent, signal });
      requestId = answer.headers.get("X-Request-ID") || "";
      if (!answer.ok) return failed((await answer.json()).error.message);
      if (!body.stream) {
        const data = await answer.json();
        show(text, ...contentOf(data));
        const of = (name) => answer.headers.get(name);
        const marks = [of("X-Cache") === "hit" && "from the cache"];
        return completed(data.usage, of("X-Credits-Charged"), `${of("X-Model")} of ${of("X-Provider")}`, marks);
      }
      for await (const [name, data] of eventsOf(answer.body)) {
        if (name === "delta" && data.content) {
          first ??= passed();
          text.append(data.content);
        } else if (name === "error") {
          return failed(data.error.message);
        } else if (name === "completed") {
          const marks = [data.cached && "from the cache", data.fallback && "by a fallback"];
          completed(data.usage, data.credits.charged, `${data.model} of ${data.provider}`, marks);
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
