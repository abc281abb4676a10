// Small parts of pages: drawings, buttons that copy, dialogs that answer, files to save.

import { complain, find, make } from "./page.js";
import { t } from "./text.js";

const SVG = "http://www.w3.org/2000/svg";

// A drawing of `icons.html`.
export function icon(name) {
    const drawing = document.createElementNS(SVG, "svg");
    drawing.setAttribute("class", "icon");
    drawing.setAttribute("aria-hidden", "true");
    const use = document.createElementNS(SVG, "use");
    use.setAttribute("href", `#i-${name}`);
    drawing.append(use);
    return drawing;
}

// A button that copies what `text` returns, and says so for a moment.
export function copies(button, text) {
    const label = [...button.childNodes];
    button.onclick = async () => {
        try {
            await copy(text());
        } catch (error) {
            return complain(error);
        }
        button.replaceChildren(button.querySelector("svg") ? icon("check") : t("Copied"));
        say(t("Copied"));
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
    const done = document.execCommand("copy");
    place.remove();
    if (!done) throw new Error(t("The browser does not let this page copy: select the text instead."));
}

// Tell people who listen to the page.
export function say(words) {
    if (find("said")) find("said").textContent = words;
}

// Open a dialog; whether it was answered with yes.
export function answered(id) {
    const dialog = find(id);
    dialog.returnValue = "";
    dialog.showModal();
    return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}

// Save a blob as a file. Files of the API come this way too: a link can't fetch them, as only scripts' requests carry the login.
export function download(name, blob) {
    const url = URL.createObjectURL(blob);
    make("a", { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
