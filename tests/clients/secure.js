// A client of the relay over TLS: `secure.js PORT CA VERSION` prints what it is told first.
const fs = require('node:fs');
const { WebSocket } = require('ws');

const [port, ca, version] = process.argv.slice(2);
const options = { ca: fs.readFileSync(ca), minVersion: version, maxVersion: version };
const url = `wss://localhost:${port}/mydb/connect?v=1.0.0&id=client&t=undefined`;
const socket = new WebSocket(url, options);
socket.on('error', (error) => {
  console.error(error.message);
  process.exit(1);
});
socket.on('message', (data) => {
  console.log(data.toString());
  socket.terminate();
});
