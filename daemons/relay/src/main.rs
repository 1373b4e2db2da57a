//! `relay`: messages between the processes of a cluster, as AceBase's own clients speak it.

mod server;

use daemon::flags;

use server::{NAME, Own, Relay, StartError, legacy};

#[tokio::main(flavor = "current_thread")]
async fn main() -> daemon::Outcome {
    server::open_many_files();
    let usual = legacy::usual(std::env::args().skip(1), |name| std::env::var(name).ok());
    let usual: Vec<_> = usual.iter().map(|(flag, value)| (*flag, &**value)).collect();
    let (flags, own) = flags::parse_with::<Own>(NAME, &server::usual(&usual));
    let result = async {
        let settings = flags.settings();
        let doors = server::open(&own, &settings.environment).await?;
        let relay = Relay::new(&own, &doors)?;
        let bound = server::daemon(relay).settings(settings).bind().await?;
        doors.serve(bound, &own).await?;
        Ok::<_, StartError>(())
    };
    result.await.into()
}
