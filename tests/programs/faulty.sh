#!/bin/sh
# A daemon that misbehaves in the way of $FAULT at the moment $MOMENT of its life, once. Its files are in $CELL:
# `lives` counts its starts, `strike` is a pipe that tells when, `struck` says that it has happened.

live=$(($(cat "$CELL/lives") + 1))
echo $live > "$CELL/lives"

forever() {
	while :; do
		sleep 1000 &
		wait $!
	done
}

# As it should be, in the way in which it is known to be ready.
behave() {
	case $READY in
	port) exec nc -lk 127.0.0.1 0 ;;
	dae) exec "$SAMPLE" ;;
	*) exec sleep 1000 ;;
	esac
}

misbehave() {
	case $FAULT in
	output) yes 0123456789012345678901234567890123456789012345678901234567 | head -c "$OUTPUT" ;;
	bomb) for _ in 0 1 2 3 4 5 6 7 8 9; do for _ in 0 1 2 3 4 5 6 7 8 9; do (trap '' TERM; exec sleep 1000) & done; done ;;
	escapee) setsid sh -c 'trap "" TERM; exec sleep 1000' < /dev/null > /dev/null 2>&1 & ;;
	deaf) trap '' TERM ;;
	closed) exec >&- 2>&- ;;
	missing) rm -f "$0" ;;
	esac
	touch "$CELL/struck"
	case $FAULT in
	sigkill | missing) kill -KILL $$ ;;
	sigstop) kill -STOP $$ ;;
	sigsegv) ulimit -c 0; kill -SEGV $$ ;;
	exit0) exit 0 ;;
	exit1 | escapee) exit 1 ;;
	slow) forever ;;
	name) exec env -u DAE_PORT DAE_NAME=Other "$SAMPLE" ;;
	port) exec "$SAMPLE" ;;
	esac
	forever
}

wait_for_strike() {
	read -r _ < "$CELL/strike"
}

# What is wrong with a start can be so from the next one on alone.
at_next_start() {
	case $FAULT in slow | name | port) return 0 ;; *) return 1 ;; esac
}

case $MOMENT-$live in
starting-1)
	wait_for_strike
	at_next_start && kill -KILL $$
	misbehave
	;;
up-1)
	case $READY in
	port) nc -lk 127.0.0.1 0 & ;;
	dae) "$SAMPLE" & ;;
	esac
	wait_for_strike
	at_next_start && kill -KILL $$
	misbehave
	;;
stopping-1)
	trap 'wait_for_strike; misbehave' TERM
	touch "$CELL/trapped"
	forever
	;;
waiting-1) exit 1 ;;
waiting-2) misbehave ;;
*) if at_next_start && [ "$MOMENT" != stopping ]; then misbehave; else behave; fi ;;
esac
