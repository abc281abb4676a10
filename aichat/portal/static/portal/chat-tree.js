// A conversation as a tree: each message follows another one, and versions of the same turn follow the same one.

const ROOT = "";

export class Tree {
    constructor() {
        this.messages = new Map();
        this.children = new Map(); // by message: the IDs of those that follow it, the oldest first
        this.chosen = new Map(); // by message: which of them is shown
        this.previous = ROOT;
    }

    // Add a message, later than all others, and show its branch.
    add(message, conversation) {
        const named = message.parent_id === conversation ? ROOT : message.parent_id;
        const parent = named ?? this.previous; // null in rows of earlier versions: the one before
        this.messages.set(message.id, { ...message, parent: parent === ROOT || this.messages.has(parent) ? parent : ROOT });
        const here = this.messages.get(message.id).parent;
        this.children.set(here, [...(this.children.get(here) ?? []), message.id]);
        this.chosen.set(here, message.id);
        this.previous = message.id;
    }

    // The messages that are shown, the oldest first.
    path() {
        const shown = [];
        for (let id = this.chosen.get(ROOT); id; id = this.chosen.get(id)) shown.push(this.messages.get(id));
        return shown;
    }

    get leaf() {
        return this.path().at(-1);
    }

    // The messages that lead to a message, without it.
    before(id) {
        const path = [];
        for (let at = this.messages.get(id)?.parent; at; at = this.messages.get(at).parent) path.unshift(this.messages.get(at));
        return path;
    }

    // The versions of a message, itself among them, the oldest first.
    versions(id) {
        return this.children.get(this.messages.get(id).parent);
    }

    // Show the branch in which a message stands, with what was shown after it last.
    choose(id) {
        for (let at = this.messages.get(id); at; at = this.messages.get(at.parent)) this.chosen.set(at.parent, at.id);
    }
}
