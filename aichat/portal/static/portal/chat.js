import { ask, base, send } from "./api.js";
import { render, writer } from "./markdown.js";
import { complain, credits, fillModels, find, inWords, make, onClick, onSubmit, paged, showBalance } from "./page.js";

let conversation = location.pathname.match(/\/c\/([0-9a-f-]{36})$/)?.[1];
let running = null; // the AbortController of the answer that arrives now
let heard = [];

function bubble(role, text = "") {
    find("empty")?.remove();
    const body = make("div", { class: "body" });
    const item = make("article", { class: role }, body);
    if (role === "user") body.textContent = text;
    else if (text) render(body, text);
    find("messages").append(item);
    item.scrollIntoView({ block: "end" });
    return { item, body };
}

function addCopy(item, text) {
    const button = make("button", { type: "button", class: "quiet", text: "Copy" });
    button.onclick = () => navigator.clipboard.writeText(text).then(() => (button.textContent = "Copied"));
    item.append(button);
}

function note(item, text) {
    item.append(make("p", { class: "note", text }));
}

// The events of a stream (https://html.spec.whatwg.org/multipage/server-sent-events.html), as [name, data].
async function* events(response) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
        const { value, done } = await reader.read();
        if (done) return;
        const parts = (rest + value).split("\n\n");
        rest = parts.pop();
        for (const part of parts) {
            const name = part.match(/^event: (.*)$/m)?.[1];
            const data = part.match(/^data: (.*)$/m)?.[1];
            if (name && data) yield [name, JSON.parse(data)];
        }
    }
}

async function answer(question) {
    const body = { message: question, model: find("model").value || "auto", stream: true };
    if (conversation) body.conversation_id = conversation;
    if (find("system").value && !conversation) body.system = find("system").value;
    running = new AbortController();
    const options = { method: "POST", body, signal: running.signal, headers: { "Cache-Control": "no-cache" } };
    const response = await send("api/v1/chat", options);
    const { item, body: place } = bubble("assistant");
    const markdown = writer(place);
    let text = "";
    let thoughts = null;
    let whole = false;
    try {
        for await (const [name, data] of events(response)) {
            if (name === "delta") {
                if (data.reasoning) {
                    thoughts ??= make("pre");
                    if (!thoughts.isConnected) {
                        item.prepend(make("details", {}, make("summary", { text: "Thoughts" }), thoughts));
                    }
                    thoughts.append(data.reasoning);
                }
                if (data.content) {
                    text += data.content;
                    markdown.write(data.content);
                }
            } else if (name === "completed") {
                whole = true;
                note(item, `${data.model} · ${credits(data.credits.charged)} credits · ${data.request_id}`);
                opened(data.conversation_id, question);
            } else if (name === "error") {
                whole = true;
                note(item, inWords({ message: data.error.message, code: data.error.code, requestId: data.error.request_id }));
            }
        }
        if (!whole) note(item, "The connection broke. What arrived is paid; reload to see what was kept.");
    } catch (error) {
        if (error.name !== "AbortError") throw error;
        note(item, "Stopped. What had arrived is paid.");
    } finally {
        markdown.end();
        if (text) addCopy(item, text);
        heard.push(["user", question], ["assistant", text]);
    }
}

function opened(id, title) {
    if (conversation === id) return;
    conversation = id;
    history.replaceState(null, "", `${base}c/${id}`);
    showTitle(title);
    listConversations().catch(complain);
}

function showTitle(title) {
    find("title-bar").hidden = false;
    find("title").textContent = title;
}

async function listConversations() {
    find("conversations").replaceChildren();
    await paged("api/v1/conversations", (rows) => {
        for (const row of rows) {
            const link = make("a", { href: `${base}c/${row.id}`, text: row.title || "Untitled" });
            if (row.id === conversation) link.setAttribute("aria-current", "page");
            find("conversations").append(make("li", {}, link));
        }
    });
}

async function load() {
    const found = await ask(`api/v1/conversations/${conversation}`);
    showTitle(found.title);
    find("system").value = found.system;
    find("system").disabled = true;
    let path = `api/v1/conversations/${conversation}/messages`;
    while (path) {
        const { results, next } = await ask(path);
        for (const message of results) {
            const { item } = bubble(message.role, message.content);
            heard.push([message.role, message.content]);
            if (message.role === "assistant") addCopy(item, message.content);
        }
        path = next ? `api/v1/conversations/${conversation}/messages${new URL(next).search}` : null;
    }
}

onSubmit(find("ask"), async () => {
    const question = find("question").value;
    find("question").value = "";
    bubble("user", question);
    find("stop").hidden = false;
    try {
        await answer(question);
    } catch (error) {
        find("question").value = question; // nothing that was written is lost
        throw error;
    } finally {
        running = null;
        find("stop").hidden = true;
        showBalance().catch(complain);
    }
});

find("question").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        if (!running) find("ask").requestSubmit();
    }
});

onClick("stop", async () => running?.abort());

onClick("rename", async () => {
    const title = prompt("A name for this conversation", find("title").textContent);
    if (!title) return;
    await ask(`api/v1/conversations/${conversation}`, { method: "PATCH", body: { title } });
    showTitle(title);
    await listConversations();
});

onClick("delete", async () => {
    if (!confirm("Delete this conversation with all its messages?")) return;
    await ask(`api/v1/conversations/${conversation}`, { method: "DELETE" });
    location.assign(base);
});

onClick("export", async () => {
    const parts = heard.map(([role, text]) => `## ${role === "user" ? "You" : "Answer"}\n\n${text}\n`);
    const file = new Blob([`# ${find("title").textContent}\n\n${parts.join("\n")}`], { type: "text/markdown" });
    make("a", { href: URL.createObjectURL(file), download: "conversation.md" }).click();
});

Promise.all([fillModels("chat"), listConversations(), showBalance(), conversation ? load() : null]).catch(complain);
