// Rows of tables. On a narrow screen each cell is a line that its column names (`data-name`).

import { find, make } from "./page.js";
import { credits, number } from "./text.js";

export const cell = (content = "") =>
    content instanceof Node ? make("td", {}, content) : make("td", { text: content });
export const amount = (value) => make("td", { text: credits(value), class: "number", title: value });
export const count = (value) => make("td", { text: number(value, 0), class: "number" });
export const actions = (...buttons) => make("td", { class: "actions" }, ...buttons);

export function button(text, work, kind = "quiet") {
    const element = make("button", { type: "button", class: kind, text });
    element.addEventListener("click", work);
    return element;
}

// Add rows, each a list of cells, to the table body `id`; `empty` is the ID of what stands there instead of no rows.
export function add(id, rows, empty) {
    const body = find(id);
    const names = [...body.closest("table").querySelectorAll("thead th")].map((head) => head.textContent.trim());
    for (const cells of rows) {
        cells.forEach((one, place) => one.className !== "actions" && one.setAttribute("data-name", names[place]));
        body.append(make("tr", {}, ...cells));
    }
    if (empty) {
        find(empty).hidden = body.children.length > 0;
        body.closest("table").hidden = !body.children.length;
    }
}

export function fill(id, rows, empty) {
    find(id).replaceChildren();
    add(id, rows, empty);
}

// A bar as wide as `part` of `whole`, as a picture: styles in attributes are against the page's policy.
export function share(part, whole) {
    const width = whole > 0 ? Math.max(1, Math.min(100, (100 * part) / whole)) : 0;
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 0 100 1");
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("aria-hidden", "true");
    const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    bar.setAttribute("width", width);
    bar.setAttribute("height", 1);
    svg.append(bar);
    return make("div", { class: "share" }, svg);
}
