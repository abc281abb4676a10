// Windows over the page. Escape, or a button with `data-close`, closes one.

import { find, inWords } from "./page.js";

for (const button of document.querySelectorAll("dialog [data-close]")) {
    button.addEventListener("click", () => button.closest("dialog").close());
}

// Run `work` when the form of a dialog is sent, and close it; a problem is said in the dialog.
export function onSend(form, work) {
    const problem = form.querySelector(".problem");
    form.onsubmit = async (event) => {
        event.preventDefault();
        const button = event.submitter ?? form.querySelector("[type=submit]");
        button.disabled = true;
        if (problem) problem.hidden = true;
        try {
            await work();
            form.closest("dialog").close();
        } catch (error) {
            if (!problem) throw error;
            problem.textContent = inWords(error);
            problem.hidden = false;
        } finally {
            button.disabled = false;
        }
    };
}

// Ask before `work`, which can't be taken back, is done; `verb` stands on the button.
export function sure(title, text, verb, work) {
    const form = find("confirm");
    find("sure-title").textContent = title;
    find("sure-text").textContent = text;
    form.querySelector("[type=submit]").textContent = verb;
    onSend(form, work);
    find("sure").showModal();
}
