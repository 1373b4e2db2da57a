//! From a request to a program, and its end.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use manager::identity::{Identity, LoadError};
use manager::keeper::protocol::{Request, Spawn, Status, Step};
use rustix::process::{Signal, pidfd_send_signal};

use crate::harness::{Keeper, descendants, eventually};

#[test]
fn a_child_prints_ends_and_is_told_with_its_code() {
    let mut keeper = Keeper::start();
    let identity = keeper.spawn("Sample", "echo hello; echo oops >&2; exit 37");
    assert_eq!(keeper.exit("Sample"), Status::Code(37));
    assert_eq!(keeper.empty("Sample"), identity.pid);
    let mut lines: Vec<_> = keeper.log("Sample").lines().map(str::to_owned).collect();
    lines.sort();
    assert_eq!(lines, ["hello", "oops"]);
}

#[test]
fn a_death_by_signal_is_told_with_its_number() {
    let mut keeper = Keeper::start();
    for signal in [libc::SIGKILL, libc::SIGSEGV, libc::SIGRTMIN() + 3] {
        keeper.spawn("Sample", &format!("kill -{signal} $$; echo survived"));
        assert_eq!(keeper.exit("Sample"), Status::Signal(signal));
        keeper.empty("Sample");
    }
    assert_eq!(keeper.log("Sample"), "");
}

#[test]
fn a_start_that_fails_names_step_and_errno_and_leaves_nothing() {
    let mut keeper = Keeper::start();
    let script = keeper.home.path().join("script");
    fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    let plain = keeper.order("Sample", "");
    let with = |change: &dyn Fn(&mut Spawn)| {
        let mut order = plain.clone();
        change(&mut order);
        order
    };
    let missing = keeper.failure(with(&|it| it.program = "/no/such/program".into()));
    assert_eq!(missing, (Step::Exec, libc::ENOENT));
    let denied = keeper.failure(with(&|it| it.program.clone_from(&script)));
    assert_eq!(denied, (Step::Exec, libc::EACCES));
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let interpreter = keeper.failure(with(&|it| it.program.clone_from(&script)));
    assert_eq!(interpreter, (Step::Exec, libc::ENOENT));
    let cwd = keeper.failure(with(&|it| it.cwd = "/no/such/directory".into()));
    assert_eq!(cwd, (Step::Cwd, libc::ENOENT));
    let log = keeper.failure(with(&|it| it.log.dir = "/proc/no/such".into()));
    assert_eq!(log, (Step::Log, libc::ENOENT));
    let name = keeper.failure(with(&|it| it.name = "../Sample".into()));
    assert_eq!(name, (Step::Name, libc::EINVAL));

    let identity = Identity::load(&Identity::path(&keeper.runtime(), "Sample"));
    assert!(matches!(identity, Err(LoadError::Forgotten { .. })));
    assert!(descendants(keeper.process.id()).is_empty());
    keeper.spawn("Sample", "");
}

#[test]
fn a_child_sees_exactly_the_environment_it_was_given() {
    let mut keeper = Keeper::start_after("export FOREIGN=1");
    let secret = keeper.secret("Sample");
    let mut order = keeper.order("Sample", "");
    order.program = "/usr/bin/env".into();
    order.args.clear();
    order.env = vec![
        ("B".to_owned(), "two words = three".to_owned()),
        ("DAE_SECRET".to_owned(), secret.clone()),
    ];
    let printed = keeper.output(order);
    assert_eq!(printed, format!("B=two words = three\nDAE_SECRET={secret}\n"));
}

#[test]
fn a_child_inherits_nothing_but_its_streams() {
    let mut keeper =
        Keeper::start_after("exec 9</dev/null; trap '' HUP PIPE USR1; ulimit -S -n 200; umask 0");
    let script = "ls /proc/$$/fd; readlink /proc/$$/fd/0; umask; pwd
        ulimit -S -n; echo $$; cut -d' ' -f5,6 /proc/$$/stat";
    let mut order = keeper.order("Sample", script);
    order.umask = 0o027;
    let printed = keeper.output(order);
    let lines: Vec<&str> = printed.lines().collect();
    let cwd = keeper.home.path().to_str().unwrap();
    assert_eq!(lines[..7], ["0", "1", "2", "/dev/null", "0027", cwd, "200"]);
    assert_eq!(lines[8], format!("{0} {0}", lines[7]), "its own group and session");

    // Not by a shell, which blocks signals now and then.
    let mut order = keeper.order("Signals", "");
    order.program = "/bin/grep".into();
    order.args = ["-hE", "SigBlk|SigIgn", "/proc/self/status"].map(str::to_owned).to_vec();
    let none = "0000000000000000";
    assert_eq!(keeper.output(order), format!("SigBlk:\t{none}\nSigIgn:\t{none}\n"));
}

/// Also what other children were given meanwhile, and the keeper's own lock and sockets.
#[test]
fn a_child_that_is_one_of_many_inherits_nothing_of_the_others() {
    let mut keeper = Keeper::start();
    for number in 0..20 {
        keeper.spawn(&format!("Sleeper{number}"), "exec sleep 1000");
    }
    let order = keeper.order("Sample", "ls /proc/$$/fd");
    assert_eq!(keeper.output(order), "0\n1\n2\n");
}

#[test]
fn a_child_that_writes_while_no_keeper_lives_is_not_killed_by_that() {
    let mut keeper = Keeper::start();
    let (go, done) = (keeper.fifo("go"), keeper.home.path().join("done"));
    let script = format!(
        "read x < {}; echo late && echo late >&2 && touch {}; exec sleep 1000",
        go.display(),
        done.display()
    );
    let identity = keeper.spawn("Sample", &script);
    keeper.process.kill().unwrap();
    keeper.process.wait().unwrap();
    fs::write(go, "\n").unwrap();

    eventually(|| (done.exists() || !identity.is_alive()).then_some(()));
    assert!(identity.is_alive());
    pidfd_send_signal(identity.open().unwrap(), Signal::KILL).unwrap();
}

#[test]
fn the_identity_is_stored_before_the_program_runs() {
    let mut keeper = Keeper::start();
    let path = Identity::path(&keeper.runtime(), "Sample");
    let script = format!("cp {} seen; stat -c %a {}", path.display(), path.display());
    let identity = keeper.spawn("Sample", &script);
    keeper.empty("Sample");
    assert_eq!(Identity::load(&keeper.home.path().join("seen")).unwrap(), identity);
    assert_eq!(keeper.log("Sample"), "600\n");
    assert!(!identity.is_alive());
    keeper.send(&Request::Forget { name: "Sample".to_owned() });
    assert_eq!(keeper.list(), []);
    assert!(matches!(Identity::load(&path), Err(LoadError::Forgotten { .. })));
    keeper.send(&Request::Kill { name: "Sample".to_owned() });
    keeper.list();
    assert!(!path.exists(), "nobody has the name any more");
}
