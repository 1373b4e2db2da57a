#!/usr/bin/env node
// A daemon that answers `dae` with a name and a secret of its choice: `impostor.js NAME [SECRET]`.
'use strict';

const net = require('net');

const [name, secret = process.env.DAE_SECRET] = process.argv.slice(2);

const server = net.createServer(socket => {
	socket.on('error', () => {});
	socket.on('data', () => {
		const credential = [name, process.pid, server.address().port, secret];
		socket.end(`credential ${JSON.stringify(credential)}\n`);
	});
});

server.listen(0, '127.0.0.1');
