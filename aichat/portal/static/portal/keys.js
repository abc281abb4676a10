import { ask } from "./api.js";
import { askBefore, changesOf, onSend } from "./dialogs.js";
import { showPages } from "./lists.js";
import { find, make, onClick, showError } from "./page.js";
import { button, copyOnClick } from "./parts.js";
import { showBalance } from "./person.js";
import { showSnippets } from "./snippets.js";
import { actions, add, amount, cell, fill } from "./tables.js";
import { credits, date, moment, t } from "./text.js";

const SCOPES = {
    chat: t("chat"),
    images: t("pictures"),
    embeddings: t("embeddings"),
    audio: t("audio"),
    read: t("reading"),
    manage: t("managing"),
};
let changed = null; // the key that the dialog changes; none: it makes one

const chosen = (name) => [...document.querySelectorAll(`[name=${name}]:checked`)].map((box) => box.value);

async function list() {
    fill("keys", [], "empty");
    await showPages("api/v1/api-keys", (rows) => add("keys", rows.map(row), "empty"));
}

function limitsOf(key) {
    const words = [];
    if (key.spend_limit_day) words.push(t("{amount} a day", { amount: credits(key.spend_limit_day) }));
    if (key.spend_limit_month) words.push(t("{amount} a month", { amount: credits(key.spend_limit_month) }));
    if (key.spend_limit) words.push(t("{amount} in all", { amount: credits(key.spend_limit) }));
    if (key.rate_limit) words.push(key.rate_limit);
    if (key.models.length) words.push(key.models.join(", "));
    if (key.allowed_ips.length) words.push(key.allowed_ips.join(", "));
    if (key.scopes.length < Object.keys(SCOPES).length) {
        words.push(t("only {uses}", { uses: key.scopes.map((scope) => SCOPES[scope] ?? scope).join(", ") }));
    }
    if (key.expires_at) words.push(t("until {day}", { day: date(key.expires_at) }));
    return words.join(" · ") || t("none");
}

function row(key) {
    const name = make("span", {}, make("b", { text: key.name }), " ", make("code", { class: "note", text: `${key.prefix}…` }));
    const old = key.replaced_by;
    if (old) name.append(" ", make("span", { class: "badge", text: t("rotated") }));
    const change = button(t("Change"), () => edit(key));
    const rotate = button(t("Rotate"), () => askToRotate(key));
    const revoke = button(t("Revoke"), () => askToRevoke(key), "danger");
    return [
        cell(name),
        cell(limitsOf(key)),
        cell(key.last_used_at ? moment(key.last_used_at) : t("never")),
        amount(key.spent),
        actions(...(old ? [revoke] : [change, rotate, revoke])),
    ];
}

function askToRevoke(key) {
    const text = t("Programs that use it are refused from now on.");
    askBefore(t("Revoke “{name}”?", { name: key.name }), text, t("Revoke"), async () => {
        await ask(`api/v1/api-keys/${key.id}`, { method: "DELETE" });
        await list();
    });
}

function askToRotate(key) {
    onSend(find("rotate"), async () => {
        const body = { overlap_seconds: Number(find("overlap").value) };
        showNew(await ask(`api/v1/api-keys/${key.id}/rotate`, { method: "POST", body }));
        await list();
    });
    find("rotation").showModal();
}

// --- Making and changing ---

const amountOf = (id) => find(id).value || null;

function body() {
    const scopes = chosen("scope");
    const models = chosen("model");
    const rate = find("rate").value;
    return {
        name: find("name").value,
        scopes: scopes.length === Object.keys(SCOPES).length ? null : scopes,
        spend_limit_day: amountOf("day"),
        spend_limit_month: amountOf("month"),
        spend_limit: amountOf("limit"),
        rate_limit: rate ? `${rate}/min` : null,
        expires_at: find("expires").value ? `${find("expires").value}T23:59:59Z` : null,
        allowed_ips: find("addresses").value.split(/[\s,;]+/).filter(Boolean),
        models: models.length ? models : null,
    };
}

async function edit(key = null) {
    await listModels();
    changed = key;
    find("edit-title").textContent = key ? t("Change “{name}”", { name: key.name }) : t("Make a key");
    find("edit-problem").hidden = true;
    find("name").value = key?.name ?? "";
    find("day").value = key?.spend_limit_day ?? "";
    find("month").value = key?.spend_limit_month ?? "";
    find("limit").value = key?.spend_limit ?? "";
    find("rate").value = key?.rate_limit?.match(/^(\d+)\/min$/)?.[1] ?? "";
    find("expires").value = key?.expires_at?.slice(0, 10) ?? "";
    find("addresses").value = key?.allowed_ips.join("\n") ?? "";
    for (const box of document.querySelectorAll("[name=scope]")) box.checked = !key || key.scopes.includes(box.value);
    for (const box of document.querySelectorAll("[name=model]")) box.checked = Boolean(key?.models.includes(box.value));
    countModels();
    const before = body();
    onSend(find("make"), async () => {
        if (changed) {
            const changes = changesOf(body(), before); // a rate by the hour, for one, has no field here and stays
            if (Object.keys(changes).length) await ask(`api/v1/api-keys/${changed.id}`, { method: "PATCH", body: changes });
        } else {
            showNew(await ask("api/v1/api-keys", { method: "POST", body: body() }));
        }
        await list();
    });
    find("edit").showModal();
}

let models = null;

async function listModels() {
    models ??= (await ask("v1/models")).data;
    const boxes = models.map((model) =>
        make("label", {}, make("input", { type: "checkbox", name: "model", value: model.id }), model.id),
    );
    find("models").replaceChildren(find("models").querySelector("legend"), ...boxes);
}

function countModels() {
    const number = chosen("model").length;
    find("models-chosen").textContent = number ? t("only {number}", { number }) : t("all");
}

find("models").addEventListener("change", countModels);

function showNew({ key }) {
    find("made").hidden = false;
    find("key").textContent = key;
    showSnippets(key);
    find("made-title").focus();
}

onClick("new", () => edit());
copyOnClick(find("copy"), () => find("key").textContent);

showSnippets();
Promise.all([list(), showBalance()]).catch(showError);
