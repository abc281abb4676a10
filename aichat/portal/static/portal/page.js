// What every page has: a problem in words, the balance, elements made without HTML strings.

import { ask } from "./api.js";

export const find = (id) => document.getElementById(id);

export function make(tag, { text, ...attributes } = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (text !== undefined) element.textContent = text;
    element.append(...children);
    return element;
}

const MENDS = {
    insufficient_credits: "Redeem a voucher on the page Credits, or ask your administrator for credits.",
    quota_exceeded: "Your limit for this day or month is reached.",
    provider_unavailable: "Choose another model, or try again in a minute.",
    provider_error: "Choose another model, or try again in a minute.",
    provider_timeout: "Choose another model, or try again in a minute.",
};

export function inWords(error) {
    if (error instanceof TypeError) return "The server can't be reached. Nothing is lost: try again.";
    const id = error.requestId ? ` (request ${error.requestId})` : "";
    return [error.message, MENDS[error.code]].filter(Boolean).join(" ") + id;
}

export function complain(error) {
    if (error.name === "AbortError") return;
    const problem = find("problem");
    problem.textContent = inWords(error);
    problem.hidden = false;
}

// Run `work` when the form is sent; the button that sent it is off meanwhile, so that nothing is sent twice.
export function onSubmit(form, work) {
    form?.addEventListener("submit", async (event) => {
        event.preventDefault();
        const button = event.submitter ?? form.querySelector("[type=submit]");
        button.disabled = true;
        find("problem").hidden = true;
        try {
            await work(form, button);
        } catch (error) {
            complain(error);
        } finally {
            button.disabled = false;
        }
    });
}

export function onClick(id, work) {
    find(id)?.addEventListener("click", () => work().catch(complain));
}

export const credits = (amount) => Number(amount).toLocaleString("en", { maximumFractionDigits: 2 });
export const moment = (text) => new Date(text).toLocaleString();

export async function showBalance() {
    if (!find("balance")) return; // without the other pages
    const { available } = await ask("api/v1/credits");
    find("balance").textContent = `${credits(available)} credits`;
}

export async function fillModels(kind) {
    const { data } = await ask("v1/models");
    const names = data.filter((model) => model.kind === kind).map((model) => model.id);
    if (kind === "image") names.unshift("auto");
    find("model").replaceChildren(...names.map((name) => make("option", { text: name, value: name })));
}

// The path of a cursor-paged list's next page, as `ask` takes it; null at the end.
export function pathOf(next, path) {
    return next ? path.split("?")[0] + new URL(next).search : null;
}

// Show a cursor-paged list page by page: `show` gets the rows of each.
export async function paged(path, show) {
    let next = path;
    const older = find("older");
    const more = async () => {
        const { results, next: address } = await ask(next);
        next = pathOf(address, path);
        older.hidden = !next;
        await show(results);
    };
    older.onclick = () => more().catch(complain);
    await more();
}
