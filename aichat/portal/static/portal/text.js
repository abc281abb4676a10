// Words, numbers and times in the page's language. `words/<language>.js`, which the page loads first, has the translations.

export const language = document.documentElement.lang || "en";

// The words for `text` with its {names} filled in.
export function t(text, values = {}) {
    return fill(globalThis.portalWords?.[text] ?? text, values);
}

export const fill = (words, values) => words.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);

export const number = (value, digits = 2) => Number(value).toLocaleString(language, { maximumFractionDigits: digits });
export const credits = (amount) => number(amount);
export const inCredits = (amount) => (Number(amount) === 1 ? t("1 credit") : t("{amount} credits", { amount: number(amount) }));
export const moment = (text) => new Date(text).toLocaleString(language, { dateStyle: "medium", timeStyle: "short" });
export const inMegabytes = (bytes) => t("{size} MB", { size: number(bytes / 2 ** 20, 1) });
export const date = (text, options = {}) => new Date(text).toLocaleDateString(language, { dateStyle: "medium", ...options });
