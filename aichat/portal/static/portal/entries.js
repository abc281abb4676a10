// Entries of the ledger and sources of credits, in words.

import { make } from "./page.js";
import { amount, cell } from "./tables.js";
import { moment, t } from "./text.js";

export const SOURCES = {
    starter: t("Welcome credits"),
    voucher: t("Voucher"),
    payment: t("Bought"),
    subscription: t("Subscription"),
    grant: t("Given by an administrator"),
    allowance: t("Monthly allowance"),
    refund: t("Given back"),
    adjustment: t("Adjustment"),
};
export const KINDS = {
    STARTER: t("Welcome credits"),
    GRANT: t("Credits added"),
    ALLOWANCE: t("Monthly allowance"),
    CHARGE: t("Charge"),
    REFUND: t("Given back"),
    ADJUSTMENT: t("Adjustment"),
    REVERSAL: t("Payment taken back"),
    EXPIRY: t("Expired"),
};

// The cells of an entry. A reason that the server wrote says no more than the kind, and is left out.
export function rowOf(row) {
    const source = row.kind === "GRANT" && SOURCES[row.reference.split(":")[0]];
    const what = make("span", { text: source || KINDS[row.kind] || row.kind });
    if (row.reason && !source && row.kind !== "STARTER") {
        what.append(make("span", { class: "note", text: ` ${row.reason}` }));
    }
    return [cell(moment(row.created_at)), cell(what), amount(row.amount), amount(row.balance_after)];
}
