// The list of conversations: pinned ones, then by day; searched by their titles and by the words of their messages.

import { ask, base } from "./api.js";
import { pathOf } from "./lists.js";
import { find, make, showError } from "./page.js";
import { icon } from "./parts.js";
import { language, t } from "./text.js";

const list = find("conversations");
export const FOUND = "found-"; // before the message's ID in the address of a hit
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

// The text around a hit, with the words of the search marked.
function snippet(pieces) {
    const parts = pieces.map(({ text, marked }) => (marked ? make("mark", { text }) : text));
    return make("span", { class: "snippet" }, ...parts);
}

function row(conversation, openMenu) {
    const { id, title, hit } = conversation;
    const link = make("a", { href: `${base}c/${id}`, dir: "auto", text: title || t("Untitled") });
    if (hit) {
        link.append(snippet(hit.snippet));
        link.hash = `${FOUND}${hit.message_id}`;
    }
    if (conversation.id === current) link.setAttribute("aria-current", "page");
    const label = t("Actions for {title}", { title: conversation.title });
    const more = make("button", { type: "button", class: "bare", "aria-label": label, "aria-haspopup": "menu" }, icon("more"));
    more.onclick = () => openMenu(conversation, more);
    return make("li", {}, link, more);
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
    const words = search ? `search=${encodeURIComponent(search)}` : "";
    const [pinned, shared] = await Promise.all([
        words ? null : ask("api/v1/conversations?pinned=true&page_size=200"),
        ask(`api/v1/conversations?shared=true&${words}`),
    ]);
    let next = `api/v1/conversations?${words || "pinned=false"}`;
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
        if (!list.children.length) list.append(make("p", { class: "hint", text: search ? t("Nothing was found. Try whole words or their beginnings: only titles are found by any part of a word.") : t("Your conversations will be here.") }));
        next = pathOf(page.next, next);
        older.hidden = !next;
    };
    older.onclick = () => more(false).catch(showError);
    await more(true);
}
