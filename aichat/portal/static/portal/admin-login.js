import { find, onClick } from "./page.js";
import { canUsePasskeys, logIn } from "./passkeys.js";

find("passkey-login").hidden = !canUsePasskeys;

onClick("passkey", async () => {
    await logIn();
    location.assign(find("passkey").dataset.next);
});
