// The form of an organization's alerts, for its owners and admins.

import { ask } from "./api.js";
import { find, onSubmit } from "./page.js";
import { t } from "./text.js";

const parts = (text) => text.split(/[\s,;]+/).filter(Boolean);

function fillForm(alerts) {
    find("low").value = alerts.low_balance ?? "";
    find("budget").value = alerts.monthly_budget ?? "";
    find("percents").value = alerts.budget_percent.join(", ");
    find("mails").value = alerts.email.join(", ");
    find("webhook").value = alerts.webhook_url ?? "";
    find("slack").value = alerts.slack_url ?? "";
    find("alerts").hidden = false;
}

export async function showAlerts() {
    fillForm(await ask("api/v1/alerts"));
    onSubmit(find("alert-form"), async () => {
        const body = {
            low_balance: find("low").value || null,
            monthly_budget: find("budget").value || null,
            budget_percent: parts(find("percents").value).map(Number),
            email: parts(find("mails").value),
            webhook_url: find("webhook").value || null,
            slack_url: find("slack").value || null,
        };
        fillForm(await ask("api/v1/alerts", { method: "PUT", body }));
        find("alerts-saved").textContent = t("Saved.");
    });
}
