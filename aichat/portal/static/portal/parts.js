// Small parts of pages: icons, buttons, words for people who listen, files to save.

import { draw, find, make, showError } from "./page.js";
import { t } from "./text.js";

// A drawing of `icons.html`.
export function icon(name) {
    return draw("svg", { class: "icon", "aria-hidden": "true" }, draw("use", { href: `#i-${name}` }));
}

// A button that runs `work`; an error is shown on the page.
export function button(text, work, kind = "quiet") {
    return withWork(make("button", { type: "button", class: kind, text }), work);
}

export function iconButton(name, label, work) {
    return withWork(make("button", { type: "button", class: "bare", "aria-label": label, title: label }, icon(name)), work);
}

function withWork(element, work) {
    if (work) element.onclick = () => Promise.resolve().then(work).catch(showError);
    return element;
}

// Have a button copy what `text` returns, and say so for a moment.
export function copyOnClick(button, text) {
    const label = [...button.childNodes];
    button.onclick = async () => {
        try {
            await copy(text());
        } catch (error) {
            return showError(error);
        }
        button.replaceChildren(button.querySelector("svg") ? icon("check") : t("Copied"));
        announce(t("Copied"));
        setTimeout(() => button.replaceChildren(...label), 1500);
    };
    return button;
}

// `navigator.clipboard` is there on https and localhost alone; a company's own http address has the old way.
export async function copy(text) {
    if (navigator.clipboard) return navigator.clipboard.writeText(text);
    const place = document.createElement("textarea");
    place.value = text;
    (document.querySelector("dialog[open]") ?? document.body).append(place);
    place.select();
    const isCopied = document.execCommand("copy");
    place.remove();
    if (!isCopied) throw new Error(t("The browser does not let this page copy: select the text instead."));
}

// A request ID that a click copies, for those who help.
export function requestId(id) {
    return copyOnClick(make("button", { type: "button", class: "text", title: t("Copy the request ID"), text: id }), () => id);
}

// Tell people who listen to the page.
export function announce(words) {
    if (find("said")) find("said").textContent = words;
}

// Save a blob as a file. Files of the API come this way too: a link can't fetch them, as only scripts' requests carry the login.
export function download(name, blob) {
    const url = URL.createObjectURL(blob);
    make("a", { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
