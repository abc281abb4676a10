// Files that the API answers, which a link can't fetch: the login goes with a script's requests alone.

import { make } from "./page.js";

export async function save(response, name) {
    const url = URL.createObjectURL(await response.blob());
    make("a", { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
