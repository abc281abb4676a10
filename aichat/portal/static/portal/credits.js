import { ask } from "./api.js";
import { complain, credits, find, make, moment, onSubmit, paged, showBalance } from "./page.js";

const cell = (text) => make("td", { text });
const number = (text) => make("td", { text: credits(text), class: "number", title: text });

async function showFigures() {
    const wallet = await ask("api/v1/credits");
    find("available").textContent = credits(wallet.available);
    find("held").textContent = credits(wallet.held);
}

async function showDays() {
    const { totals, results } = await ask("api/v1/usage?group_by=day");
    find("spent").textContent = credits(totals.credits);
    const most = Math.max(...results.map((row) => Number(row.credits)), 1e-6);
    const days = results.map((row) =>
        make(
            "div",
            { title: `${row.day ?? row.key}: ${row.credits} credits` },
            make("meter", { min: 0, max: most, value: row.credits }),
            make("span", { text: `${row.day ?? row.key} · ${credits(row.credits)}` }),
        ),
    );
    find("days").replaceChildren(...days);
    if (!days.length) find("days").append(make("p", { class: "hint", text: "Nothing was spent yet." }));
}

async function showModels() {
    const { results } = await ask("api/v1/usage?group_by=model");
    const rows = results.map((row) =>
        make("tr", {}, cell(row.model ?? row.key), number(String(row.requests)), number(row.credits)),
    );
    find("models").replaceChildren(...rows);
}

async function showEntries() {
    find("entries").replaceChildren();
    await paged("api/v1/credits/entries", (rows) => {
        for (const row of rows) {
            const what = [row.kind.toLowerCase().replaceAll("_", " "), row.reason].filter(Boolean).join(": ");
            find("entries").append(
                make("tr", {}, cell(moment(row.created_at)), cell(what), number(row.amount), number(row.balance_after)),
            );
        }
    });
}

onSubmit(find("redeem"), async () => {
    const given = await ask("api/v1/vouchers/redeem", { method: "POST", body: { code: find("code").value } });
    find("redeemed").textContent = `${credits(given.credits)} credits are yours.`;
    find("redeem").reset();
    await Promise.all([showFigures(), showEntries(), showBalance()]);
});

Promise.all([showFigures(), showDays(), showModels(), showEntries(), showBalance()]).catch(complain);
