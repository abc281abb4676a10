// Statements: a month is shown on the page Credits, where it can be printed, or saved as a file.

import { ask, send } from "./api.js";
import { KINDS } from "./entries.js";
import { find, make, onSubmit } from "./page.js";
import { download } from "./parts.js";
import { credits, date, t } from "./text.js";

const UTC = { timeZone: "UTC" };
const SECTIONS = {
    money_in: t("Money in"),
    refunds: t("Given back"),
    adjustments: t("Adjustments"),
    expiries: t("Expired"),
    charges: t("Charges"),
};
const cell = (text, kind) => make("td", kind ? { text, class: kind } : { text });
const head = (...names) =>
    make("thead", {}, make("tr", {}, ...names.map((text) => make("th", { text, scope: "col" }))));

export function offerMonths() {
    const now = new Date();
    const months = Array.from({ length: 24 }, (_, back) => new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() - back)));
    const named = months.map((month) =>
        make("option", {
            value: month.toISOString().slice(0, 7),
            text: date(month, { ...UTC, dateStyle: undefined, month: "long", year: "numeric" }),
        }),
    );
    find("month").replaceChildren(...named);
}

function line(title, value, tag = "td") {
    return make("tr", {}, make(tag, { text: title }), make(tag, { text: credits(value), class: "number" }));
}

function table(name, rows) {
    const charges = name === "charges";
    const columns = charges ? [t("Day"), t("Model"), t("Requests"), t("Amount")] : [t("Day"), t("Reason"), t("Amount")];
    const shown = rows.map((row) =>
        charges
            ? make("tr", {}, cell(date(row.day, UTC)), cell(row.model), cell(row.requests, "number"), cell(credits(-row.credits), "number"))
            : make("tr", {}, cell(date(row.date, UTC)), cell(row.reason || KINDS[row.kind] || row.kind), cell(credits(row.credits), "number")),
    );
    return [make("h3", { text: SECTIONS[name] }), make("table", {}, head(...columns), make("tbody", {}, ...shown))];
}

function elementsOf(statement) {
    const month = find("month").selectedOptions[0].textContent;
    const print = make("button", { type: "button", class: "quiet noprint", text: t("Print") });
    print.onclick = () => window.print();
    const totals = Object.entries(statement.totals).map(([name, value]) => line(SECTIONS[name] || name, value));
    const sums = make(
        "table",
        {},
        make(
            "tbody",
            {},
            line(t("Balance at the beginning"), statement.opening_balance),
            ...totals,
            line(t("Balance at the end"), statement.closing_balance),
        ),
    );
    const parts = Object.keys(SECTIONS).flatMap((name) => (statement[name].length ? table(name, statement[name]) : []));
    return [
        make("div", { class: "top" }, make("h3", { text: month }), print),
        ...(statement.complete ? [] : [make("p", { class: "hint", text: t("The month is still running.") })]),
        sums,
        ...parts,
    ];
}

onSubmit(find("statement"), async (form, button) => {
    const path = `api/v1/statements/${find("month").value}`;
    if (button.value === "csv") {
        const response = await send(`${path}?format=csv`);
        return download(`statement-${find("month").value}.csv`, await response.blob());
    }
    find("statement-shown").replaceChildren(...elementsOf(await ask(path)));
    find("statement-shown").hidden = false;
});
