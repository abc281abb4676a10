// Pictures and PDFs for the next message: chosen, pasted or dropped; checked here, sent at once, shown until the message goes.

import { ask } from "./api.js";
import { find, make, showError } from "./page.js";
import { announce, icon } from "./parts.js";
import { inMegabytes, t } from "./text.js";

const MOST = 10;
const TYPES = new Set(find("file").accept.split(","));
const largest = Number(find("file").dataset.largest); // bytes
let files = []; // { kept, chip, sending }

// Why a file can't be sent, in words; nothing when it can.
function obstacle(file) {
    const name = file.name || t("The file");
    if (!TYPES.has(file.type)) return t("{name} can't be sent: choose a picture (PNG, JPEG, WebP, GIF) or a PDF.", { name });
    if (file.size > largest) {
        return t("{name} has {size}: choose a file of at most {largest}.", { name, size: inMegabytes(file.size), largest: inMegabytes(largest) });
    }
    if (!file.size) return t("{name} is empty: choose another file.", { name });
    return files.length < MOST ? "" : t("A message has at most {most} files: remove one first.", { most: MOST });
}

export function add(list) {
    find("problem").hidden = true;
    for (const file of list) {
        const words = obstacle(file);
        if (words) showError(new Error(words));
        else begin(file);
    }
}

function begin(file) {
    const name = file.name || t("Picture");
    const entry = { kept: null, chip: chipOf(name, file.type.startsWith("image/") ? URL.createObjectURL(file) : null) };
    entry.chip.classList.add("sending");
    entry.sending = ask(`api/v1/attachments?name=${encodeURIComponent(name.slice(-200))}`, { method: "POST", body: file }).then(
        (kept) => {
            entry.kept = kept;
            entry.chip.classList.remove("sending");
            announce(t("{name} is added.", { name }));
        },
        (error) => {
            entry.error = error;
            remove(entry);
            showError(error);
        },
    );
    insert(entry);
}

function chipOf(name, picture) {
    const shown = picture ? make("img", { src: picture, alt: "" }) : icon("file");
    return make("span", { class: "chip" }, shown, make("span", { text: name }));
}

function insert(entry) {
    const away = make("button", { type: "button", class: "bare", "aria-label": t("Remove {name}", { name: entry.chip.textContent }) }, icon("close"));
    away.onclick = () => remove(entry);
    entry.chip.append(away);
    files.push(entry);
    find("files").append(entry.chip);
    find("files").hidden = false;
}

function remove(entry) {
    files = files.filter((one) => one !== entry);
    entry.chip.remove();
    find("files").hidden = files.length === 0;
}

export const hasPictures = () => files.some(({ chip }) => chip.querySelector("img"));

// The files for a message that goes now, once all of them were sent. Without one that fails meanwhile it must not go.
export async function take() {
    const awaited = [...files];
    await Promise.all(awaited.map(({ sending }) => sending));
    const failed = awaited.find(({ error }) => error);
    if (failed) throw failed.error;
    const taken = files.map(({ kept }) => kept).filter(Boolean);
    for (const entry of [...files]) remove(entry);
    return taken;
}

// Put the files of a message that was not answered back, for another try.
export function giveBack(kept = []) {
    for (const one of kept) {
        const picture = one.media_type.startsWith("image/") ? one.url : null;
        insert({ kept: one, chip: chipOf(one.name, picture), sending: Promise.resolve() });
    }
}

find("attach").addEventListener("click", () => find("file").click());
find("file").addEventListener("change", () => {
    add(find("file").files);
    find("file").value = "";
});
find("question").addEventListener("paste", (event) => {
    if (!event.clipboardData.files.length) return;
    event.preventDefault();
    add(event.clipboardData.files);
});

const place = document.querySelector(".chat main");
const hasFiles = (event) => [...event.dataTransfer.items].some(({ kind }) => kind === "file");
place.addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    place.classList.add("dropping");
});
place.addEventListener("dragleave", (event) => {
    if (!place.contains(event.relatedTarget)) place.classList.remove("dropping");
});
place.addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    place.classList.remove("dropping");
    add(event.dataTransfer.files);
});
