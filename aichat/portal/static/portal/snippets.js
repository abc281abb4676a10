// The lines that a person types to use a key in a program. A test compares them with docs/CLIENTS.md, whose own tests run them.

import { base } from "./api.js";
import { find, make } from "./page.js";
import { button, copyOnClick } from "./parts.js";
import { t } from "./text.js";

const ADDRESS = "http://127.0.0.1:8000";
const KEY = "sk-…";

const SNIPPETS = [
    ["curl", `curl http://127.0.0.1:8000/v1/chat/completions \\
  -H "Authorization: Bearer sk-…" \\
  -H "Content-Type: application/json" \\
  -d '{"model": "auto", "messages": [{"role": "user", "content": "Hello!"}]}'`],
    ["Python", `client = openai.OpenAI(base_url="http://127.0.0.1:8000/v1", api_key="sk-…")
client.responses.create(model="auto", input="Hello!")
client.chat.completions.create(model="auto", messages=[{"role": "user", "content": "Hello!"}])`],
    ["JavaScript", `const client = new OpenAI({ baseURL: "http://127.0.0.1:8000/v1", apiKey: "sk-…" });
await client.responses.create({ model: "auto", input: "Hello!" });`],
    ["Codex CLI", `model = "auto"
model_provider = "aichat"
[model_providers.aichat]
name = "aichat"
base_url = "http://127.0.0.1:8000/v1"
env_key = "AICHAT_API_KEY"
wire_api = "responses"`, "~/.codex/config.toml", "AICHAT_API_KEY=sk-… codex"],
    ["Claude Code", `export ANTHROPIC_BASE_URL=http://127.0.0.1:8000
export ANTHROPIC_AUTH_TOKEN=sk-…
ANTHROPIC_MODEL=auto claude`],
    ["Qwen Code", `export OPENAI_BASE_URL=http://127.0.0.1:8000/v1
export OPENAI_API_KEY=sk-…
export OPENAI_MODEL=auto`, "", "qwen --auth-type openai"],
    ["llm", `- model_id: aichat
  model_name: auto
  api_base: http://127.0.0.1:8000/v1
  api_key_name: aichat
  supports_tools: true`, "extra-openai-models.yaml", `llm -m aichat --key sk-… "Hello!"`],
    ["shell-gpt", `export API_BASE_URL=http://127.0.0.1:8000/v1
export OPENAI_API_KEY=sk-…
export DEFAULT_MODEL=auto`, "", `sgpt --no-cache "Hello!"`],
    ["anthropic (Python)", `client = anthropic.Anthropic(base_url="http://127.0.0.1:8000", api_key="sk-…")
client.messages.create(model="auto", max_tokens=1000, messages=[{"role": "user", "content": "Hello!"}])`],
    ["AI SDK", `const provider = createOpenAI({ baseURL: "http://127.0.0.1:8000/v1", apiKey: "sk-…" });
const claude = createAnthropic({ baseURL: "http://127.0.0.1:8000/v1", apiKey: "sk-…" });
await generateText({ model: provider("auto"), prompt: "Hello!" });`],
];

const address = (location.origin + base).replace(/\/$/, "");
let key = KEY;
let open = 0;

const filled = (text) => text.replaceAll(ADDRESS, address).replaceAll(KEY, key);

function block(text) {
    const copy = copyOnClick(button(t("Copy")), () => text);
    return make("div", { class: "snippet" }, make("pre", { tabindex: "0" }, make("code", { text })), copy);
}

function select(place, focus = false) {
    open = place;
    const [, text, file, then] = SNIPPETS[place];
    const parts = [block(filled(text))];
    if (file) parts.unshift(make("p", { class: "hint", text: t("In the file {file}:", { file }) }));
    if (then) parts.push(make("p", { class: "hint", text: t("Then:") }), block(filled(then)));
    find("snippet").replaceChildren(...parts);
    find("snippet").setAttribute("aria-labelledby", `tool-${place}`);
    [...find("tools").children].forEach((tab, at) => {
        tab.setAttribute("aria-selected", at === place);
        tab.tabIndex = at === place ? 0 : -1;
        if (at === place && focus) tab.focus();
    });
}

// Show the tools, with the key in their texts while there is one to show.
export function showSnippets(secret = KEY) {
    key = secret;
    const tabs = SNIPPETS.map(([name], place) => {
        const tab = make("button", { type: "button", role: "tab", id: `tool-${place}`, "aria-controls": "snippet", text: name });
        tab.onclick = () => select(place);
        return tab;
    });
    find("tools").replaceChildren(...tabs);
    find("tools").onkeydown = (event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (step) select((open + step + tabs.length) % tabs.length, true);
    };
    select(open);
}
