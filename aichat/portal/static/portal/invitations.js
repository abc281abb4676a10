// The invitations that a person received from teams.

import { ask } from "./api.js";
import { find } from "./page.js";
import { button } from "./parts.js";
import { actions, cell, fill } from "./tables.js";
import { date, t } from "./text.js";

export const ROLES = { OWNER: t("Owner"), ADMIN: t("Admin"), MEMBER: t("Member") };

// Show the invitations in the table `received`; `then` runs after the person joined or declined.
export async function showReceived(then) {
    const { results } = await ask("api/v1/invitations");
    const answer = (work) => () => work().then(then);
    const rows = results.map(({ id, name, role, invited_by: by, expires_at: until }) => [
        cell(name),
        cell(ROLES[role]),
        cell(by),
        cell(date(until)),
        actions(
            button(t("Join"), answer(() => ask("api/v1/invitations/accept", { method: "POST", body: { id } })), ""),
            button(t("Decline"), answer(() => ask(`api/v1/invitations/${id}`, { method: "DELETE" }))),
        ),
    ]);
    fill("received", rows);
    find("asked").hidden = !rows.length;
}
