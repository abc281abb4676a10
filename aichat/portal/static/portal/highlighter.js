// A worker that finds the parts of code to colour: some texts take the library many seconds, for which no page may stand still.

import library from "./vendor/highlight.js";

const plain = (node) => (typeof node === "string" ? node : { scope: node.scope, children: node.children.map(plain) });

addEventListener("message", ({ data: { text, language } }) => {
    if (!library.getLanguage(language)) return postMessage([]);
    const found = library.highlight(text, { language, ignoreIllegals: true });
    postMessage(found._emitter.rootNode.children.map(plain));
});
postMessage([]); // ready
