// Written by `python -m tools.messages`.
globalThis.portalWords = {
    "1 credit": "1 Credit",
    "Choose another model, or try again in a minute.": "Wählen Sie ein anderes Modell oder versuchen Sie es in einer Minute noch einmal.",
    "Just me": "Nur ich",
    "Redeem a voucher on the page Credits, or ask your administrator for credits.": "Lösen Sie auf der Seite Guthaben einen Gutschein ein oder bitten Sie Ihren Administrator um Credits.",
    "The server answered {status}.": "Der Server hat mit {status} geantwortet.",
    "The server can't be reached. Nothing is lost: try again.": "Der Server ist nicht erreichbar. Nichts ist verloren: Versuchen Sie es noch einmal.",
    "Your limit for this day or month is reached.": "Ihr Limit für diesen Tag oder Monat ist erreicht.",
    "request {id}": "Anfrage {id}",
    "{amount} credits": "{amount} Credits"
};
