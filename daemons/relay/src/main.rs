//! `relay`: messages between the processes of a cluster, as AceBase's own clients speak it.

mod server;

use daemon::flags;

use server::{NAME, Own, Relay, StartError};

#[tokio::main(flavor = "current_thread")]
async fn main() -> daemon::Outcome {
    server::open_many_files();
    let (flags, own) = server::with_usual(|usual| flags::parse_with::<Own>(NAME, usual));
    let result = async {
        let settings = flags.settings();
        let terms = own.terms()?;
        let doors = server::open(&own, &terms, &settings.environment).await?;
        let relay = Relay::new(&own, terms, &doors);
        let bound = server::daemon(relay).settings(settings).bind().await?;
        doors.serve(bound, &own).await?;
        Ok::<_, StartError>(())
    };
    result.await.into()
}
