// Talks to an echo at the URL that it is given, and exits with 0 if all is as it must be.
const assert = require('node:assert');
const WebSocket = require('ws');

const url = process.argv[2];

function open(...more) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(url, ...more);
    socket.on('open', () => resolve(socket));
    socket.on('error', reject);
  });
}

const next = (socket, event) => new Promise((resolve) => socket.once(event, (...it) => resolve(it)));

async function main() {
  const socket = await open();
  for (const sent of ['', 'x', 'ä😀'.repeat(40000), Buffer.alloc(65536, 7), Buffer.alloc(0)]) {
    socket.send(sent);
    const [data, isBinary] = await next(socket, 'message');
    assert.strictEqual(isBinary, typeof sent !== 'string');
    assert.ok(Buffer.from(sent).equals(data));
  }
  socket.send('in ', { fin: false });
  socket.send('fragments', { fin: true });
  assert.strictEqual((await next(socket, 'message'))[0].toString(), 'in fragments');
  socket.ping('there?');
  assert.strictEqual((await next(socket, 'pong'))[0].toString(), 'there?');
  socket.close(4000, 'bye');
  assert.strictEqual((await next(socket, 'close'))[0], 4000);

  await assert.rejects(open({ origin: 'http://evil.example' }), /403/);
  await assert.rejects(open({ headers: { host: 'evil.example' } }), /403/);
}

main().then(() => process.exit(0), (error) => {
  console.error(error);
  process.exit(1);
});
