import { ask, base } from "./api.js";
import { complain, credits, find, make, moment, onClick, onSubmit, showBalance } from "./page.js";

const address = location.origin + base;

async function list() {
    find("keys").replaceChildren();
    for (let path = "api/v1/api-keys"; path; ) {
        const { results, next } = await ask(path);
        for (const key of results) find("keys").append(row(key));
        path = next ? `api/v1/api-keys${new URL(next).search}` : null;
    }
    find("empty").hidden = find("keys").children.length > 0;
}

function row(key) {
    const revoke = make("button", { type: "button", class: "quiet", text: "Revoke" });
    revoke.onclick = async () => {
        if (!confirm(`Revoke “${key.name}”? Programs that use it are refused from now on.`)) return;
        await ask(`api/v1/api-keys/${key.id}`, { method: "DELETE" }).then(list).catch(complain);
    };
    return make(
        "tr",
        {},
        make("td", { text: key.name }),
        make("td", {}, make("code", { text: `${key.prefix}…` })),
        make("td", { text: moment(key.created_at) }),
        make("td", { text: key.spend_limit ? credits(key.spend_limit) : "none", class: "number" }),
        make("td", {}, revoke),
    );
}

function showNew(secret) {
    find("made").hidden = false;
    find("key").textContent = secret;
    find("curl").textContent =
        `curl ${address}v1/chat/completions \\\n  -H "Authorization: Bearer ${secret}" \\\n` +
        `  -H "Content-Type: application/json" \\\n` +
        `  -d '{"model": "auto", "messages": [{"role": "user", "content": "Hello!"}]}'`;
    find("python").textContent =
        `from openai import OpenAI\n\nclient = OpenAI(base_url="${address}v1", api_key="${secret}")\n` +
        `answer = client.chat.completions.create(model="auto", messages=[{"role": "user", "content": "Hello!"}])\n` +
        `print(answer.choices[0].message.content)`;
}

onSubmit(find("make"), async (form) => {
    const body = { name: find("name").value };
    if (find("limit").value) body.spend_limit = find("limit").value;
    const made = await ask("api/v1/api-keys", { method: "POST", body });
    form.reset();
    showNew(made.key);
    await list();
});

onClick("copy", () => navigator.clipboard.writeText(find("key").textContent).then(() => (find("copy").textContent = "Copied")));

Promise.all([list(), showBalance()]).catch(complain);
