// The list of conversations: pinned ones, then by day; searched by their titles.

import { ask, base } from "./api.js";
import { complain, find, make, pathOf } from "./page.js";
import { icon } from "./parts.js";
import { language, t } from "./text.js";

const list = find("conversations");
let current = "";
let latest = 0; // the list that was asked for last: an earlier answer that comes late is not shown

const startOfDay = (moment) => new Date(moment.getFullYear(), moment.getMonth(), moment.getDate());

function folder(text) {
    const days = Math.round((startOfDay(new Date()) - startOfDay(new Date(text))) / 86_400_000);
    if (days <= 0) return t("Today");
    if (days === 1) return t("Yesterday");
    if (days < 7) return t("The last seven days");
    return new Date(text).toLocaleDateString(language, { month: "long", year: "numeric" });
}

function row(conversation, openMenu) {
    const link = make("a", { href: `${base}c/${conversation.id}`, dir: "auto", text: conversation.title || t("Untitled") });
    if (conversation.id === current) link.setAttribute("aria-current", "page");
    const label = t("What to do with {title}", { title: conversation.title });
    const more = make("button", { type: "button", class: "bare", "aria-label": label, "aria-haspopup": "menu" }, icon("more"));
    more.onclick = () => openMenu(conversation, more);
    return make("li", { "data-id": conversation.id }, link, more);
}

function addTo(title, conversation, openMenu) {
    let section = [...list.children].find((one) => one.dataset.folder === title);
    if (!section) {
        section = make("section", { "data-folder": title }, make("h2", { text: title }), make("ul"));
        list.append(section);
    }
    section.querySelector("ul").append(row(conversation, openMenu));
}

export async function listConversations(conversation, openMenu) {
    current = conversation;
    const mine = ++latest;
    const search = find("search").value.trim();
    const [pinned, shared] = search ? [null, null] : await Promise.all([
        ask("api/v1/conversations?pinned=true&page_size=200"),
        ask("api/v1/conversations?shared=true"),
    ]);
    let next = search
        ? `api/v1/conversations?search=${encodeURIComponent(search)}`
        : "api/v1/conversations?pinned=false";
    const older = find("older");
    const more = async (isFirst) => {
        const page = await ask(next);
        if (mine !== latest) return;
        if (isFirst) {
            list.replaceChildren();
            for (const one of pinned?.results ?? []) addTo(t("Pinned"), one, openMenu);
            for (const one of shared?.results ?? []) addTo(t("Shared with me"), one, openMenu);
        }
        for (const one of page.results) addTo(folder(one.updated_at), one, openMenu);
        if (!list.children.length) list.append(make("p", { class: "hint", text: search ? t("No title has these words.") : t("Your conversations will be here.") }));
        next = pathOf(page.next, next);
        older.hidden = !next;
    };
    older.onclick = () => more(false).catch(complain);
    await more(true);
}
