// Written by `python -m tools.messages`.
globalThis.portalWords = {
    "1 credit": "1 Credit",
    "Choose another model, or try again in a minute.": "Wählen Sie ein anderes Modell oder versuchen Sie es in einer Minute noch einmal.",
    "Just me": "Nur ich",
    "No passkey was used: it was cancelled, or took too long, or there is none on this device.": "Es wurde kein Passkey verwendet: abgebrochen, zu lange gewartet, oder keiner auf diesem Gerät.",
    "Passkey": "Passkey",
    "Redeem a voucher on the page Credits, or ask your administrator for credits.": "Lösen Sie auf der Seite Guthaben einen Gutschein ein oder bitten Sie Ihren Administrator um Credits.",
    "Remove": "Entfernen",
    "Rename": "Umbenennen",
    "The passkey's name": "Name des Passkeys",
    "The server answered {status}.": "Der Server hat mit {status} geantwortet.",
    "The server can't be reached. Nothing is lost: try again.": "Der Server ist nicht erreichbar. Nichts ist verloren: Versuchen Sie es noch einmal.",
    "This device has a passkey for this account already.": "Dieses Gerät hat schon einen Passkey für dieses Konto.",
    "Your limit for this day or month is reached.": "Ihr Limit für diesen Tag oder Monat ist erreicht.",
    "request {id}": "Anfrage {id}",
    "{amount} credits": "{amount} Credits",
    "{host}, last used {when}": "{host}, zuletzt verwendet {when}",
    "{host}, never used": "{host}, nie verwendet"
};
