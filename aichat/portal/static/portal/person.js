// Who is logged in: for whom they act, what they can spend, their language, and what the browser keeps of them.

import { acting, ask, base, storageKey } from "./api.js";
import { find, make } from "./page.js";
import { inCredits, language, t } from "./text.js";

const { languageCookie } = document.body.dataset;

// Keep for whom this tab is. What it keeps (a draft, an answer on its way) is of one person: where another one has logged in,
// here or in another tab, all of it is forgotten and the page loaded anew. What one person typed must not go out in another's
// name. Returns whether the tab belonged to nobody else.
function keepTabFor(person) {
    const before = sessionStorage.getItem(storageKey("person"));
    if (before && before !== person) forgetTab();
    sessionStorage.setItem(storageKey("person"), person);
    localStorage.setItem(storageKey("person"), person); // tells the other tabs
    return !before || before === person;
}

function forgetTab() {
    for (const name of ["draft", "running", "said", "person"]) sessionStorage.removeItem(storageKey(name));
}

addEventListener("storage", ({ key, newValue }) => {
    const mine = sessionStorage.getItem(storageKey("person"));
    if (key === storageKey("person") && mine && newValue !== mine) location.reload();
});

// Leave nothing of the person in the browser after a logout.
export function forgetPerson() {
    forgetTab();
    for (const name of ["person", "organization"]) localStorage.removeItem(storageKey(name));
}

const never = () => new Promise(() => {}); // while the page is loaded anew

// Show for whom this page acts and what they can spend; returns who is logged in.
export async function showBalance() {
    if (!find("balance")) return null; // PORTAL=false: there are no other pages
    const me = await ask("api/v1/me").catch((error) => {
        if (error.status !== 404 || !acting.get()) throw error;
        actFor(""); // the team is gone, or the browser has another person now
        return never();
    });
    if (!keepTabFor(me.id)) {
        location.reload();
        return never();
    }
    useLanguage(me.language);
    find("balance").textContent = inCredits(me.credits.available);
    offerOrganizations(me);
    return me;
}

function offerOrganizations(me) {
    const choice = find("acting");
    const options = me.organizations.map(({ id, name, personal }) => {
        const option = make("option", { value: personal ? "" : id, text: personal ? t("Just me") : name });
        option.selected = id === me.organization.id;
        return option;
    });
    choice.replaceChildren(...options);
    choice.hidden = options.length < 2;
    choice.onchange = () => actFor(choice.value);
}

export function actFor(id) {
    acting.set(id);
    location.assign(find("balance") ? location.pathname.replace(/c\/[0-9a-f-]{36}$/, "") : base);
}

// Show the pages in the person's language from now on; where none is chosen, in the browser's.
function useLanguage(chosen) {
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
