// Lists of the API that come page by page: each page names the address of the next.

import { ask } from "./api.js";
import { find, showError } from "./page.js";

// The path of a list's next page, as `ask` takes it; null at the end.
export function pathOf(next, path) {
    return next ? path.split("?")[0] + new URL(next).search : null;
}

// Show a list page by page, the next one when the button `older` is clicked: `show` gets the rows of each.
export async function showPages(path, show) {
    let next = path;
    const older = find("older");
    const more = async () => {
        const { results, next: address } = await ask(next);
        next = pathOf(address, path);
        older.hidden = !next;
        await show(results);
    };
    older.onclick = () => more().catch(showError);
    await more();
}

// Fetch all rows of a list.
export async function allRows(path) {
    const rows = [];
    for (let page = path; page; ) {
        const { results, next } = await ask(page);
        rows.push(...results);
        page = pathOf(next, path);
    }
    return rows;
}
