// A client of the state server, over a plain socket or over WebSocket:
// `state.js net|ws PORT PASSWORD`. Does what its page shows: root makes two users and a board, ann
// writes, bob watches. It ends with 0 if all is as it must be.
const assert = require('node:assert');
const net = require('node:net');

// What both ways have in common: who waits for an answer, and what was told unasked.
class State {
  waiting = [];
  events = [];
  listeners = [];

  answer(take) {
    return new Promise((resolve, reject) => this.waiting.push({ resolve, reject, ...take }));
  }

  told(data) {
    const listener = this.listeners.shift();
    if (listener) listener(data);
    else this.events.push(data);
  }

  // The next change that is told, or message.
  nextEvent() {
    if (this.events.length > 0) return Promise.resolve(this.events.shift());
    return new Promise((resolve) => this.listeners.push(resolve));
  }

  lost() {
    for (const { reject } of this.waiting) reject(new Error('the daemon has closed'));
  }
}

// A packet is a line, `name [arguments]`; each gets one reply, in order.
class OverTcp extends State {
  static open(port) {
    return new Promise((resolve, reject) => {
      const socket = net.connect(port, '127.0.0.1', () => resolve(new OverTcp(socket)));
      socket.setEncoding('utf8').on('error', reject);
    });
  }

  constructor(socket) {
    super();
    this.socket = socket;
    let rest = '';
    socket.on('close', () => this.lost());
    socket.on('data', (text) => {
      const lines = (rest + text).split('\n');
      rest = lines.pop();
      for (const line of lines) this.hear(line);
    });
  }

  hear(line) {
    const at = line.indexOf(' ');
    const [name, args] = [line.slice(0, at), JSON.parse(line.slice(at))];
    if (name === 'event') return this.told(args[1]);
    if (name === 'end') return;
    const { resolve, reject } = this.waiting.shift();
    if (name === 'err') reject(args[0]);
    else resolve(args[0]);
  }

  call(name, ...args) {
    this.socket.write(`${name} ${JSON.stringify(args)}\n`);
    return this.answer();
  }

  close() {
    this.socket.destroy();
  }
}

// One object a message: `{id, name, args}`, answered by `{id, result}` or `{id, error}`.
class OverWebSocket extends State {
  static open(port) {
    const WebSocket = require('ws');
    return new Promise((resolve, reject) => {
      const socket = new WebSocket(`ws://127.0.0.1:${port}/`);
      socket.on('open', () => resolve(new OverWebSocket(socket))).on('error', reject);
    });
  }

  last = 0;

  constructor(socket) {
    super();
    this.socket = socket;
    socket.on('close', () => this.lost());
    socket.on('message', (text) => this.hear(JSON.parse(text)));
  }

  hear({ id, result, error, event, data }) {
    if (event !== undefined) return event === 'end' ? undefined : this.told(data);
    const waiting = this.waiting.shift();
    assert.strictEqual(id, waiting.id);
    if (error) waiting.reject(error);
    else waiting.resolve(result);
  }

  call(name, ...args) {
    const id = ++this.last;
    this.socket.send(JSON.stringify({ id, name, args }));
    return this.answer({ id });
  }

  close() {
    this.socket.close();
  }
}

const refused = (code, call) => assert.rejects(call, (error) => error.code === code);

async function main(kind, port, password) {
  const open = { net: OverTcp, ws: OverWebSocket }[kind].open;
  const [root, ann, bob] = await Promise.all([open(port), open(port), open(port)]);
  assert.strictEqual((await root.call('auth', 'root', password)).level, 0);
  // Nobody has to wait for one answer before the next is asked for.
  await Promise.all(['ann', 'bob'].map((it) => root.call('createUser', it, `a secret of ${it}`)));
  await Promise.all([
    root.call('create', [], 'board', { title: 'Tuesday', notes: {} }),
    root.call('updatePerms', ['board'], '*', { lvl: 2 }),
    root.call('updatePerms', ['board', 'notes'], 'ann', { lvl: 3 }),
  ]);

  await bob.call('auth', 'bob', 'a secret of bob');
  await bob.call('subscribe', ['board', '**']);
  const sync = await bob.nextEvent();
  assert.deepStrictEqual([sync.sync, sync.value.title], [true, 'Tuesday']);

  await ann.call('auth', 'ann', 'a secret of ann');
  const { rev } = await ann.call('create', ['board', 'notes'], 'milk', { litres: 2 });
  const heard = await bob.nextEvent();
  assert.deepStrictEqual([heard.newObjName, heard.src, heard.rev], ['milk', 'ann', rev]);
  const litres = ['board', 'notes', 'milk', 'litres'];
  await refused('denied', bob.call('update', litres, 3));
  await refused('conflict', ann.call('update', litres, 3, { ifRev: rev - 1 }));
  await ann.call('update', litres, 'zwölf ☕', { ifRev: rev });
  assert.strictEqual((await bob.nextEvent()).value, 'zwölf ☕');

  await ann.call('updatePerms', ['board', 'notes', 'milk'], '*', { lvl: 1 });
  const hidden = await bob.nextEvent();
  assert.deepStrictEqual([hidden.name, hidden.reason], ['delete', 'perms']);
  await refused('not-found', bob.call('get', ['board', 'notes', 'milk']));
  assert.strictEqual((await ann.call('emit', 'bob', 'shopping', { when: 'now' })).delivered, 1);
  assert.deepStrictEqual((await bob.nextEvent()).payload, { when: 'now' });
  await Promise.all(['ann', 'bob'].map((it) => root.call('deleteUser', it)));
  await root.call('delete', ['board']);
  [root, ann, bob].forEach((it) => it.close());
}

main(process.argv[2], Number(process.argv[3]), process.argv[4]).then(() => process.exit(0), (error) => {
  console.error(error);
  process.exit(1);
});
