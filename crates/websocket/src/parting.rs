use std::{future::poll_fn, io, time::Duration};

use tokio::time::timeout;

use crate::{End, Found, Frame, house::House, io::Io, socket::Wire, turn::Turn};

/// How long a peer is given to take what was sent and to answer the close.
const CLOSING: Duration = Duration::from_secs(5);

/// How long the last bytes are given to arrive before the connection is dropped.
const LINGER: Duration = Duration::from_secs(1);

/// The end of a WebSocket: the close leaves behind what was sent, the peer's is waited for if it
/// has not come, then the connection ends.
pub(crate) async fn part(mut wire: Box<Wire>) {
    let Some((end, reason)) = wire.outbox.ended() else { return };
    if matches!(end, End::Silent | End::Lost) {
        return;
    }
    // What the peer said is repeated, but for the words.
    // Many may leave at once.
    wire.house.lane.enter().await;
    wire.outbox.append(Frame::close(end.code(), &reason));
    let is_answer = matches!(end, End::ByPeer(_) | End::Broken(_));
    let told = timeout(CLOSING, tell(&mut wire, is_answer)).await;
    if matches!(told, Ok(Ok(()))) {
        let house = std::sync::Arc::clone(&wire.house);
        drop(timeout(LINGER, end_stream(&mut wire.io, &house)).await);
    }
}

/// Ends our direction and reads on until the peer's ends: to close with unread bytes would destroy
/// what is still on its way.
pub(crate) async fn end_stream(io: &mut Io, house: &House) -> io::Result<()> {
    poll_fn(|cx| io.poll_shutdown(cx)).await?;
    let mut turn = Turn::sprint();
    while poll_fn(|cx| io.poll_read(cx, turn.most_read(), |_| {})).await? > 0 {
        rest(&mut turn, house).await;
    }
    Ok(())
}

async fn tell(wire: &mut Wire, is_answer: bool) -> io::Result<()> {
    poll_fn(|cx| wire.outbox.poll_write(&mut wire.io, cx)).await?;
    let mut turn = Turn::sprint();
    while !is_answer && !has_closed(wire) {
        let Wire { io, decoder, .. } = wire;
        let most = turn.most_read();
        if poll_fn(|cx| io.poll_read(cx, most, |bytes| decoder.feed(bytes))).await? == 0 {
            break;
        }
        rest(&mut turn, &wire.house).await;
    }
    Ok(())
}

/// Whether the peer has closed too, or sends what can't be understood; all else is thrown away.
fn has_closed(wire: &mut Wire) -> bool {
    while let Some(next) = wire.decoder.next() {
        if matches!(next, Ok(Found::Close) | Err(_)) {
            return true;
        }
    }
    false
}

/// Lets others have their turn.
async fn rest(turn: &mut Turn, house: &House) {
    if turn.is_over() {
        house.lane.enter().await;
        *turn = Turn::full();
    }
}
