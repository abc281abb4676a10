// Rows of tables. On a narrow screen each cell is a line that its column names (`data-name`).

import { draw, find, make } from "./page.js";
import { credits, number } from "./text.js";

export const cell = (content = "") =>
    content instanceof Node ? make("td", {}, content) : make("td", { text: content });
export const amount = (value) => make("td", { text: credits(value), class: "number", title: value });
export const count = (value) => make("td", { text: number(value, 0), class: "number" });
export const actions = (...buttons) => make("td", { class: "actions" }, ...buttons);

// Add rows, each a list of cells, to the table body `id`. `empty` is the ID of what is shown while there are no rows.
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
    const bar = draw("rect", { width, height: 1 });
    return make("div", { class: "share" }, draw("svg", { viewBox: "0 0 100 1", preserveAspectRatio: "none", "aria-hidden": "true" }, bar));
}
