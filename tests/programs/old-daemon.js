#!/usr/bin/env node
// A daemon as they were written before this project, with what made them particular:
// a `data` event is taken for one packet, a packet has no end mark, an unknown name is ignored
// for ever, nobody is told that it listens, and whatever goes wrong on a connection ends it.
'use strict';

const net = require('net');
const {EventEmitter} = require('events');

const write = (socket, name, ...args) => socket.write(`${name} ${JSON.stringify(args)}`);

/** Takes each chunk of `socket` for one packet; `error` as a name, or no JSON, throws. */
function listen(socket, heard = () => {}) {
	const packets = new EventEmitter();
	socket.on('data', chunk => {
		const text = chunk.toString('latin1');
		heard(text);
		const space = text.indexOf(' ');
		packets.emit(text.slice(0, space), ...JSON.parse(text.slice(space)));
	});
	return packets;
}

const chunks = [];
const lists = [];

const server = net.createServer(socket => {
	const packets = listen(socket);
	packets.on('dae', () => {
		write(socket, 'credential', 'Old', process.pid, server.address().port, process.env.DAE_SECRET);
		socket.end();
	});
	packets.on('options', () => write(socket, 'commands', {dae: 0, heard: 0, options: 0}));
	packets.on('heard', () => write(socket, 'heard', chunks, lists));
});

server.listen(0, 'localhost', () => {
	const manager = net.connect(Number(process.env.DAE_PORT), 'localhost');
	listen(manager, text => chunks.push(text)).on('daemons', list => lists.push(list));
	write(manager, 'list');
});
