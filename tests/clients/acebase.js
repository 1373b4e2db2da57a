// A process that shares an AceBase database with others: `acebase.js`. It is told what to do by lines
// of JSON, and tells by such lines: for each an answer, `{"done"}` or `{"failed"}`, and in between
// what is heard, `{"event", "path", "value"}`, and what AceBase complains about, `{"complaint"}`.
const readline = require('node:readline');
const { AceBase } = require('acebase');

const tell = (line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const complain = (...words) => tell({ complaint: words.join(' ') });
const ignore = () => {};

// AceBase prints every message that it gets.
console.log = ignore;

// Each half second it looks for how long it has heard nothing, and after ten its process ends: a
// busy machine may take longer.
const { setInterval } = globalThis;
globalThis.setInterval = (look, ms) => setInterval(look, ms === 500 ? 2 ** 31 - 1 : ms);

const quiet = { verbose: ignore, trace: ignore, debug: ignore, log: ignore, info: ignore, write: ignore };
const logger = { ...quiet, warn: ignore, error: complain, fatal: complain };

let db;

const deeds = {
  // Opens the database in a folder; a worker waits for the master to make it.
  async open({ folder, port, role, token }) {
    const ipc = { host: '127.0.0.1', port, role, token: token ?? undefined };
    db = new AceBase('shared', { logger, storage: { path: folder, ipc } });
    const peer = db.api.storage.ipc;
    // By then it has begun to connect.
    await new Promise(setImmediate);
    const refused = peer.once('exit').then(() => Promise.reject(new Error('it gave up')));
    await Promise.race([new Promise((resolve) => peer.ws.once('message', resolve)), refused]);
    await db.ready();
    return peer.id;
  },

  set: ({ path, value }) => db.ref(path).set(value).then(ignore),

  get: async ({ path }) => (await db.ref(path).get()).val(),

  // Counts up, one transaction after the other.
  async count({ path, times }) {
    for (let n = 0; n < times; n += 1) {
      await db.ref(path).transaction((snapshot) => (snapshot.val() ?? 0) + 1);
    }
  },

  // Writes one number after the other from now on, whatever becomes of each.
  keep_writing({ path }) {
    const write = async () => {
      for (let n = 1; ; n += 1) await db.ref(path).set(n).catch(complain);
    };
    write();
  },

  // Tells of everything new at a path.
  listen: ({ path, event }) =>
    db.ref(path).on(event).subscribe((it) => tell({ event, path: (it.ref ?? it).path, value: it.val?.() })).activated(),

  // Waits until so many others want to be told of that.
  listeners({ path, event, count }) {
    const { storage } = db.api;
    const wanted = (it) => it.path === path && it.event === event;
    const are = () => storage.ipc.remoteSubscriptions.filter(wanted).length === count;
    return new Promise((resolve) => {
      const look = () => are() && resolve();
      storage.on('subscribe', look);
      storage.on('unsubscribe', look);
      look();
    });
  },
};

let last = Promise.resolve();
readline
  .createInterface({ input: process.stdin })
  .on('line', (line) => {
    const { does, ...args } = JSON.parse(line);
    const done = last.then(() => deeds[does](args)).then((it) => ({ done: it ?? null }));
    last = done.catch((error) => ({ failed: error.message })).then(tell);
  })
  // An end in good order is not AceBase's: its code of closing is no code.
  .on('close', () => process.kill(process.pid, 'SIGKILL'));
