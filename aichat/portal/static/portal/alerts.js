// What an organization is told of, and where: for its owners and admins.

import { ask } from "./api.js";
import { find, onSubmit } from "./page.js";
import { t } from "./text.js";

const parts = (text) => text.split(/[\s,;]+/).filter(Boolean);

function paint(alerts) {
    find("low").value = alerts.low_balance ?? "";
    find("budget").value = alerts.monthly_budget ?? "";
    find("percents").value = alerts.budget_percent.join(", ");
    find("mails").value = alerts.email.join(", ");
    find("webhook").value = alerts.webhook_url ?? "";
    find("slack").value = alerts.slack_url ?? "";
    find("alerts").hidden = false;
}

export async function showAlerts() {
    paint(await ask("api/v1/alerts"));
    onSubmit(find("alert-form"), async () => {
        const body = {
            low_balance: find("low").value || null,
            monthly_budget: find("budget").value || null,
            budget_percent: parts(find("percents").value).map(Number),
            email: parts(find("mails").value),
            webhook_url: find("webhook").value || null,
            slack_url: find("slack").value || null,
        };
        paint(await ask("api/v1/alerts", { method: "PUT", body }));
        find("alerts-saved").textContent = t("Saved.");
    });
}
