// The elements of a page: found by their IDs, made without HTML strings, and what happens when a person uses them.

import { inWords } from "./errors.js";

const SVG = "http://www.w3.org/2000/svg";

export const find = (id) => document.getElementById(id);

export function make(tag, { text, ...attributes } = {}, ...children) {
    return filled(document.createElement(tag), text, attributes, children);
}

// As `make`, for a part of a drawing.
export function draw(tag, { text, ...attributes } = {}, ...children) {
    return filled(document.createElementNS(SVG, tag), text, attributes, children);
}

function filled(element, text, attributes, children) {
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (text !== undefined) element.textContent = text;
    element.append(...children);
    return element;
}

// Tell the person in `place` what went wrong; nothing, where the person stopped it.
export function showError(error, place = find("problem")) {
    if (error.name === "AbortError") return;
    place.textContent = inWords(error);
    place.hidden = false;
}

// Run `work` while `button` is off, so that nothing is sent twice. Returns whether it went well; an error is shown in `place`.
export async function attempt(button, work, place = find("problem")) {
    button.disabled = true;
    place.hidden = true;
    try {
        await work();
        return true;
    } catch (error) {
        showError(error, place);
        return false;
    } finally {
        button.disabled = false;
    }
}

// Run `work` when the form is sent.
export function onSubmit(form, work) {
    form?.addEventListener("submit", (event) => {
        event.preventDefault();
        const button = event.submitter ?? form.querySelector("[type=submit]");
        attempt(button, () => work(form, button));
    });
}

export function onClick(id, work) {
    find(id)?.addEventListener("click", () => work().catch(showError));
}

// Send a text field's form with Enter; Shift and Enter begin a new line.
export function sendOnEnter(field) {
    field.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
        event.preventDefault();
        field.form.requestSubmit();
    });
}
