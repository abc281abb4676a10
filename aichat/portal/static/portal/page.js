// What every page has: a problem in words, the balance, elements made without HTML strings.

import { acting, ask, base } from "./api.js";
import { inCredits, language, t } from "./text.js";

export { credits, inCredits, moment, t } from "./text.js";

const { languageCookie } = document.querySelector("[data-base]").dataset;
export const find = (id) => document.getElementById(id);

export function make(tag, { text, ...attributes } = {}, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (text !== undefined) element.textContent = text;
    element.append(...children);
    return element;
}

const MENDS = {
    insufficient_credits: t("Redeem a voucher on the page Credits, or ask your administrator for credits."),
    quota_exceeded: t("Your limit for this day or month is reached."),
    provider_unavailable: t("Choose another model, or try again in a minute."),
    provider_error: t("Choose another model, or try again in a minute."),
    provider_timeout: t("Choose another model, or try again in a minute."),
};

// What models answer is in English for programs; people who read another language get these words by the error's code, or by
// its code and the field at fault.
const WORDS = {
    insufficient_credits: t("Your credits do not cover this."),
    content_blocked: t("The provider's safety filter refused this. Nothing was charged."),
    context_length_exceeded: t("The text is too long for the model: shorten it, or begin a new conversation."),
    provider_unavailable: t("The provider of the model failed."),
    provider_error: t("The provider of the model failed."),
    provider_timeout: t("The model did not answer in time."),
    model_not_found: t("There is no such model here."),
    model_not_allowed: t("You may not use this model."),
    payload_too_large: t("This was too large."),
    overloaded: t("The server is busy."),
    cancelled: t("The answer was stopped. What had arrived is paid."),
    idempotency_conflict: t("This was asked before in another way: load the page anew, then try again."),
    idempotency_in_progress: t("This is being done already: wait a moment."),
    database_unavailable: t("The server's database does not answer. Nothing is paid twice: try again in a minute."),
    internal_error: t("Something went wrong on our side."),
    rate_limit_exceeded: t("Too many requests: wait a moment, then try again."),
    "permission_denied conversation_id": t("This conversation is shared with you to read: its owner can let you write."),
    "permission_denied system": t("The system prompt of a shared conversation is its owner's: leave it as it is."),
    "invalid_request attachments": t("A file is no longer there: add it again."),
    "invalid_request parent_id": t("The conversation has changed meanwhile: load the page anew."),
    "invalid_request replaces": t("The conversation has changed meanwhile: load the page anew."),
    "invalid_request size": t("The model does not draw this size: choose another."),
};

export function inWords(error) {
    if (error instanceof TypeError) return t("The server can't be reached. Nothing is lost: try again.");
    const id = error.requestId ? ` (${t("request {id}", { id: error.requestId })})` : "";
    const known = language !== "en" && (WORDS[`${error.code} ${error.param}`] ?? WORDS[error.code]);
    const words = known || error.message;
    return [words, MENDS[error.code]].filter(Boolean).join(" ") + id;
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

// Show for whom this page acts and what they can spend; answers who is logged in.
export async function showBalance() {
    if (!find("balance")) return null; // without the other pages
    const me = await ask("api/v1/me").catch((error) => {
        if (error.status !== 404 || !acting.get()) throw error;
        actFor(""); // the team is gone, or the browser has another person now
        return new Promise(() => {}); // the page is loaded anew
    });
    speak(me.language);
    find("balance").textContent = inCredits(me.credits.available);
    const choice = find("acting");
    const options = me.organizations.map(({ id, name, personal }) => {
        const option = make("option", { value: personal ? "" : id, text: personal ? t("Just me") : name });
        option.selected = id === me.organization.id;
        return option;
    });
    choice.replaceChildren(...options);
    choice.hidden = options.length < 2;
    choice.onchange = () => actFor(choice.value);
    return me;
}

export function actFor(id) {
    acting.set(id);
    location.assign(find("balance") ? location.pathname.replace(/c\/[0-9a-f-]{36}$/, "") : base);
}

// Show the pages in the person's language from now on; with nothing chosen, in the browser's.
export function speak(chosen) {
    const cookie = `${languageCookie}=${chosen}`;
    if (!chosen || chosen === language || document.cookie.split("; ").includes(cookie)) return;
    keepLanguage(chosen);
    location.reload();
}

export function keepLanguage(chosen) {
    const age = chosen ? 365 * 86400 : 0;
    const safe = location.protocol === "https:" ? "; secure" : "";
    document.cookie = `${languageCookie}=${chosen}; path=${base}; max-age=${age}; samesite=lax${safe}`;
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
