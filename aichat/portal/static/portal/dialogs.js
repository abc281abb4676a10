// Windows over the page. Escape, or a button with `data-close`, closes one.

import { attempt, find } from "./page.js";

for (const button of document.querySelectorAll("dialog [data-close]")) {
    button.addEventListener("click", () => button.closest("dialog").close());
}

// Run `work` when the form of a dialog is sent, and close the dialog; an error is shown in the dialog.
export function onSend(form, work) {
    form.onsubmit = async (event) => {
        event.preventDefault();
        const button = event.submitter ?? form.querySelector("[type=submit]");
        if (await attempt(button, work, form.querySelector(".problem"))) form.closest("dialog").close();
    };
}

// Ask the person before `work`, which can't be taken back; `verb` stands on the button.
export function askBefore(title, text, verb, work) {
    const form = find("confirm");
    find("sure-title").textContent = title;
    find("sure-text").textContent = text;
    form.querySelector("[type=submit]").textContent = verb;
    onSend(form, work);
    find("sure").showModal();
}

// Open a dialog; returns, once it is closed, whether the person said yes.
export function openDialog(id) {
    const dialog = find(id);
    dialog.returnValue = "";
    dialog.showModal();
    return new Promise((resolve) => dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true }));
}

// The fields of a form that differ from what the server has.
export function changesOf(now, before) {
    return Object.fromEntries(Object.entries(now).filter(([name, value]) => String(value) !== String(before[name])));
}
