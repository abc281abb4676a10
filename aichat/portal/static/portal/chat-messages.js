// Messages as elements: text, thoughts, files, the cost of an answer, and buttons for what a person can do with it.

import { ask, base } from "./api.js";
import { frameCode } from "./code.js";
import { render, writer } from "./markdown.js";
import { find, make, sendOnEnter } from "./page.js";
import { button, copyOnClick, icon, iconButton, requestId } from "./parts.js";
import { inCredits, t } from "./text.js";

// A question. `act` has what its buttons do: `act.edit(message, text)`, for one, asks it anew.
function question(message, act) {
    const body = make("div", { class: "body", dir: "auto", text: message.content });
    const item = make("article", { class: "user", "aria-label": t("You") }, ...attachmentsOf(message), body);
    if (!message.id) return item;
    const edit = iconButton("edit", t("Edit"), () => openEditor(item, message, act));
    edit.dataset.do = "edit";
    const copy = copyOnClick(iconButton("copy", t("Copy")), () => message.content);
    item.append(make("div", { class: "acts" }, edit, copy, ...versionButtons(message, act)));
    return item;
}

function attachmentsOf(message) {
    if (!message.attachments?.length) return [];
    const shown = message.attachments.map(({ name, media_type: type, url }) => {
        if (!type.startsWith("image/")) {
            return make("a", { class: "chip", href: url, download: name }, icon("file"), make("span", { text: name }));
        }
        const picture = make("img", { src: url, alt: name, loading: "lazy" });
        return make("a", { href: url, target: "_blank", rel: "noopener" }, picture);
    });
    return [make("div", { class: "files" }, ...shown)];
}

function openEditor(item, message, act) {
    const text = make("textarea", { dir: "auto", rows: "3", maxlength: "200000", "aria-label": t("Your message") });
    text.value = message.content;
    const cancel = button(t("Cancel"), () => leave());
    const send = make("button", { type: "submit", text: t("Send") });
    const form = make("form", { class: "rewrite" }, text, make("div", { class: "answers" }, cancel, send));
    const leave = () => {
        form.remove();
        item.classList.remove("edited");
        item.querySelector("[data-do=edit]").focus();
    };
    text.onkeydown = (event) => {
        if (event.key === "Escape") leave();
    };
    sendOnEnter(text);
    form.onsubmit = (event) => {
        event.preventDefault();
        if (!text.value.trim()) return text.focus();
        leave();
        act.edit(message, text.value);
    };
    item.classList.add("edited");
    item.append(form);
    text.focus();
}

// ‹ 2 / 3 ›: buttons that walk between the versions of a message.
function versionButtons(message, act) {
    const all = act.versions(message.id);
    if (all.length < 2) return [];
    const at = all.indexOf(message.id);
    const earlier = iconButton("back", t("Earlier version"), () => act.choose(all[at - 1]));
    const later = iconButton("on", t("Later version"), () => act.choose(all[at + 1]));
    earlier.disabled = at === 0;
    later.disabled = at === all.length - 1;
    earlier.dataset.do = "earlier";
    later.dataset.do = "later";
    const place = make("span", { class: "place", text: `${at + 1} / ${all.length}` });
    place.setAttribute("aria-label", t("Version {at} of {all}", { at: at + 1, all: all.length }));
    place.setAttribute("role", "img");
    return [make("span", { class: "versions" }, earlier, place, later)];
}

// An answer that arrives in pieces: `write` adds text, `think` adds thoughts, `end` is called after the last piece.
export function newAnswer() {
    const body = make("div", { class: "body", dir: "auto" });
    const item = make("article", { class: "assistant writing", "aria-label": t("Answer"), "aria-busy": "true" }, body);
    const markdown = writer(body);
    let thoughts = null;
    let text = "";
    return {
        item,
        get text() {
            return text;
        },
        write(piece) {
            text += piece;
            markdown.write(piece);
        },
        think(piece) {
            if (!thoughts) {
                thoughts = make("div", { class: "thoughts", dir: "auto" });
                item.prepend(make("details", { class: "reasoning" }, make("summary", { text: t("Thoughts") }), thoughts));
            }
            thoughts.append(piece);
        },
        end() {
            markdown.end();
            frameCode(body);
            item.classList.remove("writing");
            item.removeAttribute("aria-busy");
        },
    };
}

function answer(message, act) {
    const body = make("div", { class: "body", dir: "auto" });
    render(body, message.content);
    frameCode(body);
    const item = make("article", { class: "assistant", "aria-label": t("Answer") });
    if (message.reasoning) {
        const thoughts = make("div", { class: "thoughts", dir: "auto", text: message.reasoning });
        item.append(make("details", { class: "reasoning" }, make("summary", { text: t("Thoughts") }), thoughts));
    }
    item.append(body, ...attachmentsOf(message));
    if (!message.finish_reason) item.append(make("p", { class: "note broken", text: t("The answer broke off here. What had arrived is paid.") }));
    if (message.finish_reason === "length") item.append(make("p", { class: "note broken", text: t("The answer reached its longest length. Write “go on” for more.") }));
    const copy = copyOnClick(iconButton("copy", t("Copy")), () => message.content);
    copy.dataset.do = "copy";
    const again = iconButton("again", t("Another answer"), () => act.again(message));
    again.dataset.do = "again";
    const acts = make("div", { class: "acts" }, copy, again, ratingButton(message, 1), ratingButton(message, -1), ...versionButtons(message, act));
    item.append(acts, factsOf(message));
    return item;
}

function ratingButton(message, value) {
    const [name, label] = value > 0 ? ["up", t("A good answer")] : ["down", t("A bad answer")];
    const thumb = iconButton(name, label, async () => {
        await ask(`api/v1/messages/${message.id}/feedback`, { method: "POST", body: { rating: value } });
        for (const one of thumb.parentElement.querySelectorAll("[aria-pressed]")) one.setAttribute("aria-pressed", one === thumb);
    });
    thumb.setAttribute("aria-pressed", message.rating === value);
    return thumb;
}

// The model, cost and request ID of an answer.
function factsOf(message) {
    const cost = message.credits === null || message.credits === undefined ? [] : [make("span", { text: inCredits(message.credits) })];
    const said = make("span", { class: "request" }, make("span", { class: "hidden", text: t("Request ID") }), requestId(message.request_id));
    return make("p", { class: "note" }, make("span", { text: message.model }), ...cost, said);
}

export const elementOf = (message, act) => (message.role === "user" ? question(message, act) : answer(message, act));

const MENDED_BY_ANOTHER_MODEL = new Set(["provider_unavailable", "provider_error", "provider_timeout", "model_not_found", "model_not_allowed", "overloaded"]);

// A card that says what went wrong, with buttons for what a person can do about it.
export function problemCard(words, code, again) {
    const acts = make("div", { class: "answers" });
    const card = make("article", { class: "problem", role: "alert", "aria-label": t("Problem") }, make("p", { text: words }), acts);
    if (code === "insufficient_credits") {
        acts.append(make("a", { class: "button", href: `${base}credits`, text: t("Get credits") }));
    }
    if (code === "invalid_api_key" || code === "not_authenticated") {
        const here = encodeURIComponent(location.pathname + location.hash);
        acts.append(make("a", { class: "button", href: `${base}login?next=${here}`, text: t("Log in") }));
    }
    const models = [...find("model").options].map((option) => option.value);
    const others = models.filter((name) => name !== find("model").value).slice(0, 3);
    for (const name of MENDED_BY_ANOTHER_MODEL.has(code) ? others : []) {
        const choose = () => {
            find("model").value = name;
            find("model").dispatchEvent(new Event("change"));
            return again();
        };
        acts.append(button(t("Ask {model}", { model: name }), choose));
    }
    acts.append(button(t("Try again"), again));
    return card;
}
