import { ask } from "./api.js";
import { find, onSubmit } from "./page.js";

// Not by itself when the page opens: programs that look into mails open links, too.
find("token").value = new URLSearchParams(location.search).get("token") ?? "";

onSubmit(find("confirm"), async (form) => {
    await ask("api/v1/auth/email/verify", { method: "POST", body: { token: find("token").value.trim() } });
    form.hidden = true;
    find("done").hidden = false;
});
