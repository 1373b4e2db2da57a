//! `cargo xtask test`: everything that must hold before a change is good.

use crate::{
    step::{self, StepError, announce, typed},
    tools::{self, CargoTool, Tool, ToolError},
    workspace::cargo,
};

/// What the tests run besides our own binaries: old-style daemons, clients in other languages, a
/// person's netcat, shells that load completions, a clock that jumps, and a witness of every file
/// that is made.
const TOOLS: [Tool; 8] = [
    Tool { program: "node", package: "nodejs" },
    Tool { program: "npm", package: "npm" },
    Tool { program: "python3", package: "python3" },
    Tool { program: "nc", package: "netcat-openbsd" },
    Tool { program: "zsh", package: "zsh" },
    Tool { program: "fish", package: "fish" },
    Tool { program: "faketime", package: "faketime" },
    Tool { program: "strace", package: "strace" },
];

const DENY: CargoTool = CargoTool { subcommand: "deny", package: "cargo-deny@0.20.2" };

/// Where clients in Node say which packages they need.
const CLIENTS: &str = "tests/clients";

/// Why the tests did not pass.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TestError {
    #[error(transparent)]
    Tool(#[from] ToolError),

    #[error("step {number} of {count}")]
    Step { number: usize, count: usize, source: StepError },
}

/// Runs all checks, cheapest first, and stops at the first that fails.
pub(crate) fn test() -> Result<(), TestError> {
    tools::ensure(&TOOLS)?;
    tools::ensure_cargo(&DENY)?;
    tools::ensure_node(CLIENTS)?;

    let mut doc = cargo(["doc", "--no-deps", "--workspace"]);
    doc.env("RUSTDOCFLAGS", "-Dwarnings");
    let mut steps = [
        cargo(["fmt", "--check"]),
        // Advisories are left out: they need a network, and turn red without a change of ours.
        cargo(["deny", "--config", ".deny.toml", "check", "licenses", "bans", "sources"]),
        cargo(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
        cargo(["test", "--workspace"]),
        doc,
    ];
    let count = steps.len();
    for (number, step) in (1..).zip(&mut steps) {
        announce(&format!("{number}/{count} {}", typed(step)));
        step::run(step).map_err(|source| TestError::Step { number, count, source })?;
    }
    announce("all passed");
    Ok(())
}
