// Markdown into a page while it arrives. The parser makes elements, never HTML; addresses are let through by scheme.

import * as smd from "./vendor/streaming-markdown.js";

const SCHEMES = new Set(["http:", "https:", "mailto:"]);

function isHarmless(address) {
    try {
        return SCHEMES.has(new URL(address, location.href).protocol);
    } catch {
        return false;
    }
}

function renderer(root) {
    const made = smd.default_renderer(root);
    const setAttribute = made.set_attr;
    made.set_attr = (data, type, value) => {
        const isAddress = type === smd.HREF || type === smd.SRC;
        if (isAddress && !isHarmless(value)) return;
        // Not `src`: while the answer arrives, the browser would ask for the picture at once.
        if (type === smd.SRC) data.nodes[data.index].dataset.address = value;
        else setAttribute(data, type, value);
    };
    return made;
}

// A picture of elsewhere is not fetched, or its server would know who reads what; its words lead there.
function linkTo(picture) {
    const { address } = picture.dataset;
    const words = picture.textContent || address || "";
    if (!address) return words;
    const link = document.createElement("a");
    link.href = address;
    link.textContent = words;
    return link;
}

// A writer: `write(text)` adds a piece, `end()` says that there is no more.
export function writer(root) {
    const parser = smd.parser(renderer(root));
    return {
        write: (text) => smd.parser_write(parser, text),
        end() {
            smd.parser_end(parser);
            for (const picture of root.querySelectorAll("img")) picture.replaceWith(linkTo(picture));
            for (const link of root.querySelectorAll("a")) {
                link.rel = "noopener noreferrer nofollow";
                link.target = "_blank";
            }
        },
    };
}

export function render(root, text) {
    const made = writer(root);
    made.write(text);
    made.end();
}
