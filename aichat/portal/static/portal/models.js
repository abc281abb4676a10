// The models that a person may use, with their prices in words.

import { ask, storageKey } from "./api.js";
import { find, make } from "./page.js";
import { inCredits, t } from "./text.js";

const QUESTION = 800; // tokens of a usual question with what was said before
const ANSWER = 400; // tokens of a usual answer: 300 words

const known = new Map();

// The cost of a usual answer, in credits; null when the list of models has no prices.
function usualPrice({ prices }) {
    if (!prices) return null;
    return Number(prices.request) + (Number(prices.input) * QUESTION + Number(prices.output) * ANSWER) / 1e6;
}

const rounded = (amount) => Number(amount.toPrecision(2));

// Fill the page's list with the models of a kind, and choose the one that was chosen last.
export async function fillModels(kind, chosen = localStorage.getItem(storageKey(`model-${kind}`))) {
    const { data } = await ask("v1/models");
    const models = data.filter((model) => model.kind === kind);
    if (kind === "image") models.unshift({ id: "auto" });
    const list = find("model");
    const picked = list.value || chosen;
    known.clear();
    for (const model of models) known.set(model.id, model);
    list.replaceChildren(...models.map((model) => make("option", { value: model.id, text: named(model, kind) })));
    if (known.has(picked)) list.value = picked;
    list.addEventListener("change", () => localStorage.setItem(storageKey(`model-${kind}`), list.value));
}

function named(model, kind) {
    if (model.id === "auto") return t("Automatic");
    const price = kind === "image" ? Number(model.prices?.image ?? NaN) : usualPrice(model);
    if (price === null || Number.isNaN(price)) return model.id;
    return price ? `${model.id} · ${inCredits(rounded(price))}` : `${model.id} · ${t("free")}`;
}

export const model = () => known.get(find("model").value);

// A sentence that says what an answer of the chosen model costs.
export function priceInWords() {
    const chosen = model();
    const price = chosen && usualPrice(chosen);
    if (price === null || price === undefined) return t("The server chooses the model; what an answer cost stands below it.");
    if (!price) return t("Answers of this model are free.");
    const { prices } = chosen;
    if (!Number(prices.input) && !Number(prices.output)) return t("An answer costs {price}.", { price: inCredits(prices.request) });
    return t("A usual answer costs about {price}, more in long conversations.", { price: inCredits(rounded(price)) });
}

// A sentence that says what so many pictures cost; for the automatic model, whose choice is not known yet, the range.
export function picturePrice(number) {
    const chosen = model();
    const models = chosen?.prices ? [chosen] : [...known.values()].filter(({ prices }) => prices);
    const prices = models.map(({ prices: { image, request } }) => Number(request) + Number(image) * number);
    if (!prices.length) return "";
    const [least, most] = [Math.min(...prices), Math.max(...prices)].map((price) => inCredits(rounded(price)));
    return least === most ? t("This costs about {price}.", { price: most }) : t("This costs between {least} and {most}.", { least, most });
}
