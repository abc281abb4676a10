// The spending of a person: a chart, and a table with its figures.

import { ask } from "./api.js";
import { draw, find, showError } from "./page.js";
import { amount, cell, count, fill, share } from "./tables.js";
import { credits, date, t } from "./text.js";

const DAY = 86_400_000;
const NAMES = { day: t("Day"), model: t("Model"), api_key: t("Key") };
const UTC = { timeZone: "UTC" };

// The next larger figure that is easy to read: 1, 2 or 5 with zeros.
function roundUp(value) {
    const power = 10 ** Math.floor(Math.log10(value));
    return [1, 2, 5, 10].map((step) => step * power).find((step) => step >= value);
}

// Bars of the days between `from` and `to`, also of those without a request.
function chart(rows, days) {
    const [height, left, bottom] = [220, 44, 24];
    const width = Math.max(280, find("chart").clientWidth);
    const spent = new Map(rows.map((row) => [row.day, Number(row.credits)]));
    const today = Math.floor(Date.now() / DAY);
    const all = Array.from({ length: days }, (_, place) =>
        new Date((today - days + 1 + place) * DAY).toISOString().slice(0, 10),
    );
    const most = roundUp(Math.max(...spent.values(), 1e-6));
    const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, class: "chart", role: "img" });
    svg.setAttribute("aria-label", t("Credits by day; the table below has the figures."));
    for (const part of [0, 0.5, 1]) {
        const y = 8 + (1 - part) * (height - bottom - 8);
        svg.append(draw("line", { class: "grid", x1: left, x2: width, y1: y, y2: y }));
        svg.append(draw("text", { x: left - 8, y: y + 4, "text-anchor": "end", text: credits(part * most) }));
    }
    const step = (width - left) / all.length;
    all.forEach((day, place) => {
        const tall = ((spent.get(day) || 0) / most) * (height - bottom - 8);
        const bar = { class: "bar", x: left + place * step + step * 0.15, width: step * 0.7, rx: Math.min(3, step / 4) };
        const drawn = draw("rect", { ...bar, y: height - bottom - tall, height: tall });
        drawn.append(draw("title", { text: `${date(day, UTC)}: ${credits(spent.get(day) || 0)}` }));
        svg.append(drawn);
    });
    for (const [place, anchor] of [[0, "start"], [Math.floor(all.length / 2), "middle"], [all.length - 1, "end"]]) {
        const x = anchor === "end" ? width : left + (anchor === "middle" ? (place + 0.5) * step : 0);
        const text = date(all[place], { ...UTC, dateStyle: undefined, day: "numeric", month: "short" });
        svg.append(draw("text", { x, y: height - 6, "text-anchor": anchor, text }));
    }
    return svg;
}

function name(group, row) {
    if (group === "day") return date(row.day, UTC);
    if (group === "api_key") return row.name || (row.api_key ? row.api_key : t("Without a key: these pages"));
    return row.model;
}

async function show() {
    const group = document.querySelector("[name=group]:checked").value;
    const days = Number(find("days").value);
    const from = new Date(Date.now() - (days - 1) * DAY).toISOString().slice(0, 10);
    const { results } = await ask(`api/v1/usage?group_by=${group}&from=${from}`);
    const whole = Math.max(...results.map((row) => Number(row.credits)), 0);
    find("group-name").textContent = NAMES[group];
    find("chart").replaceChildren(...(group === "day" && results.length ? [chart(results, days)] : []));
    find("figures-of-chart").open = group !== "day";
    find("figures-of-chart").hidden = !results.length;
    const rows = (group === "day" ? results.toReversed() : results).map((row) => [
        cell(name(group, row)),
        count(row.requests),
        amount(row.credits),
        cell(share(Number(row.credits), whole)),
    ]);
    fill("groups", rows, "nothing-spent");
}

export async function showSpending() {
    for (const id of ["group", "days"]) find(id).onchange = () => show().catch(showError);
    const [{ totals }] = await Promise.all([ask("api/v1/usage?group_by=day"), show()]);
    find("spent").textContent = credits(totals.credits);
}
