// WebAuthn in the browser: hands the server's challenge to the device, and the device's answer back.

import { ask } from "./api.js";
import { t } from "./text.js";

export const canUsePasskeys = Boolean(window.PublicKeyCredential?.parseRequestOptionsFromJSON && navigator.credentials);

async function answered(state, work) {
    try {
        return { state, credential: (await work()).toJSON() };
    } catch (error) {
        if (error.name === "InvalidStateError") throw new Error(t("This device has a passkey for this account already."));
        if (!["NotAllowedError", "AbortError", "SecurityError"].includes(error.name)) throw error;
        throw new Error(t("No passkey was used: it was cancelled, or took too long, or there is none on this device."));
    }
}

// Have the device sign with one of the passkeys that the challenge allows.
export function sign({ state, public_key: options }) {
    const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(options);
    return answered(state, () => navigator.credentials.get({ publicKey }));
}

// Have the device make a passkey.
export function create({ state, public_key: options }) {
    const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options);
    return answered(state, () => navigator.credentials.create({ publicKey }));
}

// Log in with a passkey alone; the server keeps the login in its cookie.
export async function logIn() {
    const body = await sign(await ask("api/v1/auth/passkey", { method: "POST" }));
    await ask("portal/passkey-login", { method: "POST", body });
}
