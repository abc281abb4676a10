// What every page has: a problem in words, the balance, elements made without HTML strings.

import { acting, ask, base, own } from "./api.js";
import { inWords } from "./errors.js";
import { inCredits, language, t } from "./text.js";

export { inWords } from "./errors.js";
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

// What a tab keeps (a draft, an answer on its way) is of one person. Where another one has logged in, here or in another tab,
// all of it is forgotten and the page loaded anew: what is typed must not go out in another's name.
function belongTo(person) {
    const before = sessionStorage.getItem(own("person"));
    if (before && before !== person) forgetTab();
    sessionStorage.setItem(own("person"), person);
    localStorage.setItem(own("person"), person); // tells the other tabs
    return !before || before === person;
}

function forgetTab() {
    for (const name of ["draft", "running", "said", "person"]) sessionStorage.removeItem(own(name));
}

addEventListener("storage", ({ key, newValue }) => {
    const mine = sessionStorage.getItem(own("person"));
    if (key === own("person") && mine && newValue !== mine) location.reload();
});

// After a logout nothing of the person is left in the browser.
export function forgetPerson() {
    forgetTab();
    for (const name of ["person", "organization"]) localStorage.removeItem(own(name));
}

// Show for whom this page acts and what they can spend; answers who is logged in.
export async function showBalance() {
    if (!find("balance")) return null; // PORTAL=false: there are no other pages
    const me = await ask("api/v1/me").catch((error) => {
        if (error.status !== 404 || !acting.get()) throw error;
        actFor(""); // the team is gone, or the browser has another person now
        return new Promise(() => {}); // the page is loaded anew
    });
    if (!belongTo(me.id)) {
        location.reload();
        return new Promise(() => {});
    }
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
