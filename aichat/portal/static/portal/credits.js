// The page Credits: the balance, spending, entries, statements and alerts, and what can be bought.

import { showAlerts } from "./alerts.js";
import { ask } from "./api.js";
import { rowOf, SOURCES } from "./entries.js";
import { showPages } from "./lists.js";
import { attempt, find, make, onClick, onSubmit, showError } from "./page.js";
import { showBalance } from "./person.js";
import { showSpending } from "./spending.js";
import { offerMonths } from "./statements.js";
import { add, amount, cell, fill } from "./tables.js";
import { credits, date, inCredits, t } from "./text.js";

async function showFigures() {
    const wallet = await ask("api/v1/credits");
    find("available").textContent = credits(wallet.available);
    find("held").textContent = credits(wallet.held);
    const lots = wallet.lots.map((lot) => [
        cell(SOURCES[lot.source] || lot.source),
        amount(lot.remaining),
        amount(lot.amount),
        cell(lot.expires_at ? date(lot.expires_at) : "–"),
    ]);
    fill("lots", lots, "no-lots");
}

async function showEntries() {
    fill("entries", [], "no-entries");
    await showPages("api/v1/credits/entries", (rows) => add("entries", rows.map(rowOf), "no-entries"));
}

onSubmit(find("redeem"), async (form) => {
    const given = await ask("api/v1/vouchers/redeem", { method: "POST", body: { code: find("code").value } });
    find("redeemed").textContent = t("You received {amount}.", { amount: inCredits(given.credits) });
    form.reset();
    await Promise.all([showFigures(), showEntries(), showBalance()]);
});

// --- Buying, where a seller is set up ---

async function toSeller(path, body) {
    const { url } = await ask(path, { method: "POST", body });
    location.assign(url);
}

function price(plan) {
    const money = Number(plan.price).toLocaleString(document.documentElement.lang, {
        style: "currency",
        currency: plan.currency,
    });
    return plan.interval === "year" ? t("{money} a year", { money }) : t("{money} a month", { money });
}

function offer(plan, current) {
    const buy = make("button", { type: "button", text: t("Subscribe") });
    buy.onclick = () => attempt(buy, () => toSeller("api/v1/billing/checkout", { plan: plan.slug }));
    const mine = make("span", { class: "badge", text: t("Your plan") });
    return make(
        "div",
        {},
        make("b", { text: plan.name }),
        make("p", { text: price(plan) }),
        make("p", { class: "note", text: t("{amount} in each period", { amount: inCredits(plan.credits) }) }),
        plan.slug === current ? mine : buy,
    );
}

function subscriptionInWords({ status, period_end: end, cancel_at_period_end: ends }) {
    if (status === "none" || status === "cancelled") return t("You have no plan.");
    if (status === "past_due") return t("Your last payment is missing: mend it under invoices and cards.");
    if (!end) return t("Your plan goes on until you or an administrator ends it.");
    const day = date(end);
    return ends ? t("Your plan ends on {day}.", { day }) : t("Your plan is renewed on {day}.", { day });
}

async function showShop() {
    const [plans, subscription] = await Promise.all([ask("api/v1/plans"), ask("api/v1/subscription")]);
    const current = ["active", "past_due"].includes(subscription.status) ? subscription.plan : null;
    find("subscription").textContent = subscriptionInWords(subscription);
    find("plans").replaceChildren(...plans.map((plan) => offer(plan, current)));
    find("stripe").hidden = subscription.source !== "stripe";
    find("shop").hidden = false;
}

onSubmit(find("buy"), () => toSeller("api/v1/billing/checkout", { credits: find("wanted").value }));
onClick("stripe", () => toSeller("api/v1/billing/portal"));

async function show() {
    const me = await showBalance();
    const manages = me.organization.role !== "MEMBER";
    if (find("shop") && manages) await showShop();
    else find("no-shop").hidden = false;
    if (manages) await showAlerts();
}

offerMonths();
Promise.all([show(), showFigures(), showSpending(), showEntries()]).catch(showError);
